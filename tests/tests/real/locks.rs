//! Locks that somebody holds on the primary are no reason to shut it.

use std::time::Duration;

use primacy::mysqld::session::within;
use primacy_core::record::EventKind;

use crate::asking::get;
use crate::world::{LIMIT, World, throughout, until};
use crate::writer::Writer;

/// Beyond the time after which a primary that nobody acknowledges shuts itself, and a wedged one is
/// replaced.
const HELD: Duration = Duration::from_secs(8);

/// A backup holds the global read lock: writes wait for it, and the agent's own with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backups_lock_shuts_nobody() {
    let Some(world) = World::build().await else {
        return;
    };
    let fields = ["starved_sustain_ms=1500", "unacked_fence_ms=2000"];
    world.policy(&fields).await;
    let writer = Writer::start(&world).await;
    let mut backup = world.root("mysql-1").await;
    let lock = "FLUSH TABLES WITH READ LOCK";
    backup.execute(lock, within(LIMIT)).await.expect("locked");
    let before = writer.acked();
    throughout(HELD, "it is vouched for, and epoch 1 stands", async || {
        let stands = world.first_epoch_stands().await;
        let answer = get(world.instance("mysql-1").agent_http, "/primary").await;
        stands && answer.is_some_and(|(code, _)| code == 200)
    })
    .await;
    let unlock = backup.execute("UNLOCK TABLES", within(LIMIT)).await;
    unlock.expect("its session was not ended");
    until(LIMIT, "writes to go on", async || {
        (writer.acked() > before + 1).then_some(())
    })
    .await;
    assert_eq!(world.happened(EventKind::Deposed).await, 0);
    world.settle(writer, &[]).await;
}
