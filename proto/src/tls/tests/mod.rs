//! Real files and real connections.

mod connections;
mod files;

use std::path::Path;

use tempfile::TempDir;

use super::{Authority, Files, Identity, Lifetime, Tls, Wanted};

const NODE: &str = "primacy://prod/node/1";
const OPERATOR: &str = "primacy://prod/operator/ann";
const YEAR: u64 = 365;

fn identity(uri: &str) -> Identity {
    uri.parse().expect(uri)
}

fn issued(authority: &Authority, dir: &Path, uri: &str) -> Files {
    let (identity, lifetime) = (identity(uri), Lifetime::days(YEAR));
    authority.issue_into(dir, &identity, lifetime).expect(uri)
}

fn put(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file");
}

fn opened(authority: &Authority, dir: &Path, uri: &str) -> Tls {
    let files = issued(authority, dir, uri);
    Tls::open(files, Wanted::Anybody).expect(uri)
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}
