//! What is wrong with a file is said at start, and never taken later.

use primacy_core::ids::NodeId;
use rcgen::{CertificateParams, KeyPair};

use super::super::{Authority, Files, Issued, Lifetime, Reloaded, Tls, Wanted};
use super::{NODE, OPERATOR, folder, identity, issued, opened, put};

/// Opens good files after one change, and demands a refusal that names these words.
fn refused(wanted: Wanted, change: impl FnOnce(&Authority, &mut Files), words: &[&str]) {
    let dir = folder();
    let authority = Authority::new().expect("an authority");
    let mut files = issued(&authority, dir.path(), NODE);
    Tls::open(files.clone(), Wanted::Anybody).expect("they are good");
    change(&authority, &mut files);
    let error = Tls::open(files, wanted).expect_err(words[0]).to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} in {error}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_named_with_its_remedy() {
    let bad = |change: &dyn Fn(&Authority, &mut Files), words: &[&str]| {
        refused(Wanted::Anybody, change, words);
    };
    bad(
        &|_, files| files.ca.set_file_name("none.pem"),
        &["tls.ca = ", "none.pem", "No such file", "may read"],
    );
    bad(
        &|_, files| files.cert = files.cert.parent().unwrap().into(),
        &["tls.cert = ", "name a PEM file"],
    );
    bad(
        &|_, files| files.key.set_file_name("none.pem"),
        &["tls.key = ", "none.pem"],
    );
    bad(
        &|_, files| put(&files.ca, "no certificate"),
        &["tls.ca = ", "holds no certificate", "name the PEM file"],
    );
    bad(
        &|_, files| put(&files.cert, ""),
        &["tls.cert = ", "holds no certificate", "name the PEM file"],
    );
    bad(
        &|_, files| files.key = files.cert.clone(),
        &["tls.key = ", "holds no private key", "node-1.pem"],
    );
    bad(
        &|authority, files| {
            let other = authority.issue(&identity(NODE), Lifetime::days(1)).unwrap();
            put(&files.key, &other.key);
        },
        &["tls.key = ", "node-1-key.pem", "is not the key of"],
    );
    bad(
        &|_, files| put(&files.ca, &Authority::new().unwrap().cert),
        &["tls.cert = ", "not signed by an authority in", "ca.pem"],
    );
}

fn put_pair(files: &Files, issued: &Issued) {
    put(&files.cert, &issued.cert);
    put(&files.key, &issued.key);
}

#[test]
fn a_certificate_that_the_others_would_refuse_is_refused_at_start() {
    let lives = |from_s, until_s, words: &[&str]| {
        let lifetime = Lifetime { from_s, until_s };
        let change = |authority: &Authority, files: &mut Files| {
            put_pair(files, &authority.issue(&identity(NODE), lifetime).unwrap());
        };
        refused(Wanted::Anybody, change, words);
    };
    let expired = ["tls.cert = ", "expired on 2001-09-09", "issue a new one"];
    lives(0, 1_000_000_000, &expired);
    let early = ["tls.cert = ", "not valid before 2096-10-02", "clock"];
    lives(4_000_000_000, 4_100_000_000, &early);

    // Without our authority's care: no identity, two, one that is none; a client's as a node's.
    let signed = |names: &[&str], server: bool, words: &[&str]| {
        let dir = folder();
        let authority = Authority::create(dir.path()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let uri = |name: &&str| rcgen::SanType::URI((*name).try_into().unwrap());
        params.subject_alt_names = names.iter().map(uri).collect();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        if server {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        }
        let cert = authority.sign(&params, &key).unwrap();
        let change = |_: &Authority, files: &mut Files| {
            put(&files.ca, &authority.cert);
            let key = key.serialize_pem();
            put_pair(files, &Issued { cert, key });
        };
        refused(Wanted::Anybody, change, words);
    };
    let remedy = "issue one with a";
    signed(&[], false, &["tls.cert", "names nobody", remedy]);
    signed(&["spiffe://prod/x"], false, &["names nobody", remedy]);
    signed(&[NODE, OPERATOR], false, &[NODE, OPERATOR, remedy]);
    signed(&["primacy://prod/boss"], false, &["primacy://prod/boss"]);
    signed(&[NODE], false, &["as a TLS server", "serverAuth"]);
    signed(&[NODE], true, &["as a TLS client", "clientAuth"]);
}

#[test]
fn a_configuration_takes_its_own_certificate_alone() {
    let node = |plane: &str, id| Wanted::Node(plane.into(), NodeId(id));
    let unchanged = |_: &Authority, _: &mut Files| {};
    for (wanted, needed) in [
        (node("prod", 2), "primacy://prod/node/2"),
        (node("test", 1), "primacy://test/node/1"),
        (
            Wanted::Agent("orders".into(), "orders-1".into()),
            "primacy://prod/agent/orders/orders-1",
        ),
    ] {
        let words = ["tls.cert = ", NODE, needed, "name its certificate"];
        refused(wanted, unchanged, &words);
    }
    let dir = folder();
    let authority = Authority::new().unwrap();
    let files = issued(&authority, dir.path(), NODE);
    Tls::open(files, node("prod", 1)).expect("its own");
    let files = issued(&authority, dir.path(), "primacy://p/agent/orders/orders-1");
    let wanted = Wanted::Agent("orders".into(), "orders-1".into());
    let tls = Tls::open(files, wanted).expect("its own");
    assert_eq!(tls.plane().as_str(), "p", "learned from the certificate");
}

#[test]
fn an_authority_lasts_as_files_and_is_not_replaced() {
    let dir = folder();
    let first = Authority::create(dir.path()).unwrap();
    let error = Authority::create(dir.path()).err().expect("it exists");
    assert!(error.to_string().contains("another --dir"), "{error}");
    let again = Authority::load(dir.path()).unwrap();
    assert_eq!(again.cert, first.cert);
    let tls = opened(&again, dir.path(), NODE);
    assert_eq!(tls.identity(), &identity(NODE));
    let none = folder();
    let error = Authority::load(none.path()).err().expect("there is none");
    assert!(error.to_string().contains("primacy cert ca"), "{error}");
}

#[test]
fn broken_files_never_replace_good_ones() {
    let dir = folder();
    let authority = Authority::new().unwrap();
    let files = issued(&authority, dir.path(), NODE);
    let tls = Tls::open(files.clone(), Wanted::Anybody).unwrap();
    let ends_s = tls.ends_s();
    let kept = |word: &str| match tls.reload() {
        Reloaded::Kept(error) => assert!(error.to_string().contains(word), "{error}"),
        other => panic!("{word}: {other:?}"),
    };
    assert_eq!(tls.reload(), Reloaded::Unchanged);
    assert_eq!(tls.ends_soon(), None);

    let soon = authority.issue(&identity(NODE), Lifetime::days(3)).unwrap();
    put(&files.cert, &soon.cert);
    kept("is not the key of"); // halfway
    put(&files.key, &soon.key);
    assert_eq!(tls.reload(), Reloaded::Replaced);
    assert!(tls.ends_s() < ends_s);
    assert!(tls.ends_soon().is_some(), "within 14 days");

    put(&files.cert, "-----BEGIN");
    kept("tls.cert");
    std::fs::remove_file(&files.cert).unwrap();
    kept("No such file");
    let other = authority.issue(&identity(OPERATOR), Lifetime::days(1));
    put_pair(&files, &other.unwrap());
    kept("speaks for primacy://prod/operator/ann, and this process is primacy://prod/node/1");
    assert!(tls.ends_soon().is_some(), "what was read is in use");
    put_pair(&files, &soon);
    assert_eq!(tls.reload(), Reloaded::Unchanged);
}
