//! Replicas that must not be chosen, that are missing, and that do not belong.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use nix::sys::signal::Signal;
use primacy::mysqld::bringup::{Instance, spawn};
use primacy::mysqld::follow::{Source, SourceTransport, Terms, follow};
use primacy::mysqld::inspect::inspect;
use primacy::mysqld::process::Watched;
use primacy::mysqld::session::{Address, Session, Target, Transport, within};
use primacy_core::decide::LossBound;
use primacy_core::gtid::Uuid;
use primacy_core::ids::InstanceId;
use primacy_core::record::Follower;

use crate::world::{LIMIT, World, assert_home_first, signal, throughout, until};
use crate::writer::Writer;

const NOTHING_HAPPENS: Duration = Duration::from_secs(3);
/// Less than the hold after which an agent starts a crashed server by itself.
const FEW_SECONDS: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_errant_transactions_is_not_chosen() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    // The one at home would be chosen otherwise. Its agent, which shuts what is writable without the
    // right to be, does not look meanwhile.
    let agent = world.instance("mysql-2").agent_pid;
    signal(agent, Signal::SIGSTOP);
    world
        .sql(
            "mysql-2",
            "SET SESSION sql_log_bin=1; SET GLOBAL super_read_only=OFF; \
             CREATE TABLE app.errant (n INT PRIMARY KEY); INSERT INTO app.errant VALUES (1); \
             SET GLOBAL super_read_only=ON",
        )
        .await;
    let uuid: Uuid = world
        .value("mysql-2", "SELECT @@server_uuid")
        .await
        .parse()
        .expect("a uuid");
    signal(agent, Signal::SIGCONT);
    until(LIMIT, "its agent to have seen them", async || {
        let explained = world.explained().await;
        let told = explained["alarms"].to_string();
        told.contains("\"errant\"").then_some(())
    })
    .await;
    signal(world.instance("mysql-1").mysqld_pid, Signal::SIGKILL);

    let cluster = world.opened(2).await;
    let choice = &cluster.promotion().expect("it is named").choice;
    assert!(
        ["mysql-3", "mysql-4"].contains(&choice.to.as_str()),
        "{choice:?}"
    );
    assert_eq!(choice.loss, LossBound::Zero);
    let own = |set: &primacy_core::gtid::GtidSet| set.to_string().contains(&uuid.to_string());
    assert!(
        !own(&choice.need),
        "nobody needs what was never acknowledged"
    );
    assert!(!own(&choice.within));
    assert!(
        choice.why.iter().any(|why| why.contains("errant")),
        "the choice says why not: {:?}",
        choice.why
    );
    let extra = until(LIMIT, "mysql-2 to refuse to follow", async || {
        let cluster = world.cluster().await?;
        let followers = &cluster.promotion()?.followers;
        match followers.get(&"mysql-2".into())? {
            Follower::Refused { extra } => own(extra).then(|| extra.compact().to_string()),
            Follower::Joined => panic!("it follows with transactions that its source lacks"),
        }
    })
    .await;
    // What it wrote changes something: a person accepts it, or nobody.
    let accept = ["instance", "accept-errant", world.cluster_id().as_str()];
    let accept: Vec<&str> = accept.into_iter().chain(["mysql-2", &extra]).collect();
    world.told_by(&accept).await;
    until(LIMIT, "mysql-2 to follow", async || {
        let cluster = world.cluster().await?;
        let followers = &cluster.promotion()?.followers;
        (followers.get(&"mysql-2".into())? == &Follower::Joined).then_some(())
    })
    .await;
    let executed = "SELECT @@global.gtid_executed";
    until(LIMIT, "the primary to have them", async || {
        let executed = world.value(cluster.primary.as_str(), executed).await;
        executed.contains(&uuid.to_string()).then_some(())
    })
    .await;
    world.settle(writer, &[]).await;
}

/// What the leader says it waits for, and who of the two that are gone it names.
async fn waits(world: &World) -> String {
    let explained = world.explained().await;
    explained["waits"].to_string()
}

const GONE: [&str; 2] = ["mysql-3", "mysql-4"];

/// They go with the primary: the last reports still made a failover look feasible.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_ackers_frozen_promotes_nobody_until_one_returns() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    for id in GONE {
        world.stop_host(id);
    }
    signal(world.instance("mysql-1").mysqld_pid, Signal::SIGKILL);
    until(LIMIT, "the epoch to be deposed", async || {
        let cluster = world.cluster().await?;
        cluster.deposition().map(|_| ())
    })
    .await;
    until(LIMIT, "it to say who is missing", async || {
        let waits = waits(&world).await;
        (waits.contains("1 of 2") && GONE.iter().all(|id| waits.contains(id))).then_some(())
    })
    .await;
    throughout(NOTHING_HAPPENS, "nobody is promoted", async || {
        let cluster = world.cluster().await;
        cluster.is_some_and(|cluster| cluster.epoch.0 == 1)
    })
    .await;
    // One is enough.
    world.continue_host(GONE[0]);
    let cluster = world.opened(2).await;
    assert_home_first(&cluster);
    world.continue_host(GONE[1]);
    world.settle(writer, &[]).await;
}

/// Nobody can be chosen, and meanwhile its agent starts the old primary again: it shows what it
/// holds, and is reinstated as an epoch of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_that_returns_before_the_choice_is_reinstated() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let starts = starts_of_first(&world);
    for id in GONE {
        world.stop_host(id);
    }
    signal(world.instance("mysql-1").mysqld_pid, Signal::SIGKILL);
    let cluster = until(LIMIT, "epoch 2 to be named", async || {
        world.cluster().await.filter(|cluster| cluster.epoch.0 == 2)
    })
    .await;
    assert_eq!(cluster.primary.as_str(), "mysql-1");
    let choice = &cluster.promotion().expect("it is named").choice;
    assert_eq!(choice.proof.name(), "confirmed");
    assert_eq!(choice.loss, LossBound::Zero);
    for id in GONE {
        world.continue_host(id);
    }
    world.opened(2).await;
    // They were never frozen: they replicate from it as before, and must not be turned away for
    // what it wrote since.
    until(LIMIT, "the ackers to have joined", async || {
        let cluster = world.cluster().await?;
        assert_eq!(cluster.epoch.0, 2, "one reinstatement is enough");
        let followers = &cluster.promotion()?.followers;
        let joined = |id: &&str| match followers.get(&InstanceId::from(*id)) {
            Some(Follower::Joined) => true,
            Some(refused) => panic!("{id}: {refused:?}"),
            None => false,
        };
        GONE.iter().all(joined).then_some(())
    })
    .await;
    let starts_now = starts_of_first(&world);
    world.settle(writer, &[]).await;
    assert_eq!(starts_now, starts + 1, "started once, and not killed");
}

/// The number that the first agent has given its server's newest start.
fn starts_of_first(world: &World) -> u64 {
    let seal = primacy::agent::seal::read(&world.dir().join("agent-1"));
    seal.expect("it is whole").expect("its seal").mysqld.0
}

/// They were gone before: then not even a verdict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_ackers_reached_deposes_nobody_until_they_return() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    for id in GONE {
        world.stop_host(id);
    }
    for id in GONE {
        world.unheard(id).await;
    }
    signal(world.instance("mysql-1").mysqld_pid, Signal::SIGKILL);
    until(LIMIT, "an inquest that names who is missing", async || {
        let explained = world.explained().await;
        let findings = explained["findings"].to_string();
        let both = GONE.iter().all(|id| findings.contains(id));
        (explained["verdict"] == "Undecided" && both).then_some(())
    })
    .await;
    // An operator reads what would bring writes back.
    until(FEW_SECONDS, "the missing to be waited for", async || {
        let waits = waits(&world).await;
        GONE.iter().all(|id| waits.contains(id)).then_some(())
    })
    .await;
    throughout(NOTHING_HAPPENS, "nobody is promoted", async || {
        world.first_epoch_stands().await
    })
    .await;
    for id in GONE {
        world.continue_host(id);
    }
    writer.more(1).await;
    // Its agent starts the old one anew: it may be back in time, and serves on or is reinstated.
    let cluster = world.cluster().await.expect("a node answers");
    if cluster.primary.as_str() != "mysql-1" {
        assert_home_first(&cluster);
    }
    world.settle(writer, &[]).await;
}

/// A server of its own beside the world's, killed at the end.
struct Stranger {
    instance: Instance,
    process: Watched,
}

impl Stranger {
    async fn start(world: &World) -> Stranger {
        let held: Vec<_> = (0..2)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"))
            .collect();
        let ports: Vec<_> = held
            .iter()
            .map(|port| port.local_addr().expect("it is bound").port())
            .collect();
        let instance = Instance {
            dir: world.dir().join("stranger"),
            bind: Ipv4Addr::LOCALHOST.into(),
            port: ports[0],
            admin_port: ports[1],
            server_id: 99,
            acks_required: 1,
            buffer_pool_mib: 64,
            core_file: false,
        };
        std::fs::create_dir(&instance.dir).expect("a folder");
        let copied = world.template.copy_to(&instance).await;
        copied.expect("data of its own");
        drop(held);
        let process = spawn(&world.server, &instance, LIMIT).await;
        Stranger {
            process: process.expect("it starts"),
            instance,
        }
    }

    async fn session(&self, world: &World) -> Session {
        let target = Target {
            address: Address::Socket(self.instance.socket()),
            login: world.accounts().agent.clone(),
            transport: Transport::Plain,
        };
        let session = Session::connect(&target, within(LIMIT)).await;
        session.expect("its agent account logs in")
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.process.kill9();
    }
}

/// Semi-sync has no allow-list: whoever says that it acknowledges is counted, until it is cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_that_acknowledges_is_cut() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let stranger = Stranger::start(&world).await;
    let mut session = stranger.session(&world).await;
    let primary = world.instance("mysql-1").address;
    let source = Source {
        host: primary.ip().to_string(),
        port: primary.port(),
        logins: vec![world.accounts().repl.clone()],
        transport: SourceTransport::PublicKey,
        heartbeat: Duration::from_millis(250),
    };
    follow(&mut session, &source, Terms::acking(), within(LIMIT))
        .await
        .expect("nothing refuses it");
    let seen = inspect(&mut session, within(LIMIT)).await;
    let uuid = seen.expect("it answers").pulse.server_uuid;

    let connected = async || {
        let sql = format!(
            "SELECT CAST(t.PROCESSLIST_ID AS CHAR) \
             FROM performance_schema.user_variables_by_thread v \
             JOIN performance_schema.threads t USING (THREAD_ID) \
             WHERE v.VARIABLE_NAME='replica_uuid' AND v.VARIABLE_VALUE='{uuid}'"
        );
        let sets = world.sql("mysql-1", &sql).await;
        let row = sets.into_iter().flatten().next();
        row.and_then(|row| row.get::<String, _>(0))
    };
    let first = until(LIMIT, "the stranger to connect", async || connected().await).await;
    until(LIMIT, "the stranger to be cut", async || {
        (connected().await.as_ref() != Some(&first)).then_some(())
    })
    .await;
    assert_eq!(world.primary().await.epoch, 1);
    drop(session);
    drop(stranger);
    world.settle(writer, &[]).await;
}
