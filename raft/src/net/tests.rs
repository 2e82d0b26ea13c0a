//! What is said in another node's name.

use std::sync::Arc;
use std::time::Duration;

use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use primacy_core::ids::{Incarnation, NodeId, Seq};
use primacy_core::record::{Member, Proposal};
use primacy_proto::tls::Identity;
use serde::Serialize;
use tonic::{Code, Request, Status};

use super::peers::request;
use super::server::Ear;
use super::wire::raft_service_server::RaftService;
use super::{encode, wire};
use crate::admission::{Extent, Holding, Word};
use crate::types::{RaftVote, TypeConfig};
use crate::{Config, Handle};

const THIS: NodeId = NodeId(1);
const CANDIDATE: NodeId = NodeId(3);

fn sent<T>(by: Option<&str>, message: T) -> Request<T> {
    let mut request = request(THIS, message, Duration::from_secs(30));
    if let Some(by) = by {
        let identity: Identity = by.parse().expect(by);
        request.extensions_mut().insert(identity);
    }
    request
}

/// Says everything that node 3 may say, as `by`: what becomes of each.
async fn said(ear: &Ear, by: Option<&str>) -> Vec<Result<(), Status>> {
    fn payload<T: Serialize>(message: &T) -> prost::bytes::Bytes {
        encode(message).expect("our own")
    }
    let vote = RaftVote::new(1, CANDIDATE);
    let asks = payload(&VoteRequest::<TypeConfig>::new(vote, None));
    let append = payload(&AppendEntriesRequest::<TypeConfig> {
        vote,
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    });
    let transfer = payload(&TransferLeaderRequest::<TypeConfig>::new(vote, THIS, None));
    let proposal = |proposer| {
        payload(&Proposal {
            proposer,
            incarnation: Incarnation(1),
            seq: Seq(1),
            wall_ms: 0,
            commands: Vec::new(),
        })
    };
    let mut answers = Vec::new();
    let pre_vote = wire::PreVoteRequest {
        payload: asks.clone(),
    };
    answers.push(ear.pre_vote(sent(by, pre_vote)).await.map(drop));
    let votes = wire::VoteRequest { payload: asks };
    answers.push(ear.vote(sent(by, votes)).await.map(drop));
    let append = wire::AppendRequest {
        payload: append,
        leader_hears_majority: true,
    };
    answers.push(ear.append(sent(by, append)).await.map(drop));
    let ask = wire::AskRequest {
        payload: payload(&Word {
            node: CANDIDATE,
            plane: "".into(),
            members: Default::default(),
            holding: Holding::Nothing,
            extent: Extent::default(),
        }),
    };
    answers.push(ear.ask(sent(by, ask)).await.map(drop));
    let transfer = wire::TransferLeaderRequest { payload: transfer };
    answers.push(ear.transfer_leader(sent(by, transfer)).await.map(drop));
    for proposer in [CANDIDATE, CANDIDATE.operators_door()] {
        let forward = wire::ForwardRequest {
            proposal: proposal(proposer),
        };
        answers.push(ear.forward(sent(by, forward)).await.map(drop));
    }
    answers
}

#[tokio::test]
async fn a_node_speaks_for_itself_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let member = Member {
        address: "127.0.0.1:1".into(),
        region: "here".into(),
    };
    let config = Config::new(THIS, dir.path(), [(THIS, member)].into());
    let handle = Handle::start(config).await.expect("a node");
    handle.enter().await.expect("it is alone");
    let ear = |known| Ear {
        contact: Arc::default(),
        known,
        ..handle.ear()
    };
    for (by, code) in [
        (None, Code::Unauthenticated),
        (Some("primacy://prod/node/2"), Code::PermissionDenied),
        (Some("primacy://prod/operator/ann"), Code::PermissionDenied),
    ] {
        for answer in said(&ear(true), by).await {
            let status = answer.expect_err("it is not node 3");
            assert_eq!(status.code(), code, "{status:?}");
            if let Some(by) = by {
                let accepted = "accepted is primacy://prod/node/3";
                let text = status.message();
                assert!(text.contains(by) && text.contains(accepted), "{text}");
            }
        }
    }
    for (known, by) in [(true, Some("primacy://prod/node/3")), (false, None)] {
        for answer in said(&ear(known), by).await {
            answer.expect("it is node 3, or nobody can tell");
        }
    }
    handle.halt().await;
}
