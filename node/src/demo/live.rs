//! The demo's live screen: what the nodes answer and log, and what the clients count, as it happens.
//!
//! On a terminal a panel is redrawn in place, and the steps scroll above it; elsewhere each change
//! is a line. Nothing here is asked or drawn in the measuring form.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use console::{Term, style, truncate_str};
use primacy_core::ids::NodeId;
use primacy_core::record::EventKind;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

use super::discover::Found;
use super::panel::{Picture, Writes};
use super::world::{CLUSTER, World};
use super::writers::Ledger;
use crate::api::{HistoryEvent, StatusDocument};
use crate::cli::wrap;
use crate::client::Client;
use crate::clock;

/// Between two questions to one node: three nodes, so twenty small answers a second.
const ASK_EVERY: Duration = Duration::from_millis(150);
const ASK_LIMIT: Duration = Duration::from_millis(500);
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Steps come from several nodes and from the clients; they are held back so long, so that they
/// are shown in their order.
const HOLD_MS: u64 = 400;
/// Writes are counted over this time.
const RATE_OVER: Duration = Duration::from_secs(1);
const PAGE: u32 = 1_000;
/// Of lines that are no terminal's.
const LINE_WIDTH: usize = 160;

enum News {
    Answer {
        node: NodeId,
        document: Box<StatusDocument>,
        events: Vec<HistoryEvent>,
    },
    Fault {
        at_ms: u64,
        what: String,
    },
    End {
        document: Box<StatusDocument>,
        events: Vec<HistoryEvent>,
    },
}

/// What the clients do.
pub(super) struct Clients {
    pub writers: u32,
    pub ledger: Ledger,
    pub primary: watch::Receiver<Option<Found>>,
    /// The primary that is to be broken.
    pub old: SocketAddr,
}

/// Runs until its end is said; dropped before, it stops where it is.
pub(super) struct Live {
    news: mpsc::UnboundedSender<News>,
    drawing: JoinHandle<()>,
    asking: Vec<AbortHandle>,
}

impl Live {
    /// Begins to ask every node and to draw; events before `from_index` are not shown.
    pub fn start(world: &World, clients: Clients, from_index: u64) -> anyhow::Result<Self> {
        let (news, incoming) = mpsc::unbounded_channel();
        let mut picture = Picture::default();
        let mut asking = Vec::new();
        for ((id, (region, _)), address) in world.nodes.iter().zip(&world.node_addresses) {
            picture.regions.insert(*id, region.clone());
            let client = Client::new(std::slice::from_ref(address), ASK_LIMIT, &world.transport)?;
            let task = tokio::spawn(ask(*id, client, from_index, news.clone()));
            asking.push(task.abort_handle());
        }
        let names = world
            .places
            .values()
            .map(|place| (place.address(), place.id.to_string()))
            .collect();
        let drawing = Drawing {
            picture,
            clients,
            names,
            canvas: Canvas::new(),
            fault_ms: None,
            steps: BTreeMap::new(),
            numbered: 0,
            voted: BTreeSet::new(),
            chosen_ms: None,
            shown_index: from_index,
            first_ack_shown: false,
            counted: None,
            counts: VecDeque::new(),
        };
        Ok(Self {
            news,
            drawing: tokio::spawn(drawing.run(incoming)),
            asking,
        })
    }

    /// The fault happens now.
    pub fn fault(&self, at_ms: u64, what: String) {
        let _ = self.news.send(News::Fault { at_ms, what });
    }

    /// Shows what is still missing of these events, and ends.
    pub async fn end(mut self, document: StatusDocument, events: Vec<HistoryEvent>) {
        let document = Box::new(document);
        let _ = self.news.send(News::End { document, events });
        let _ = (&mut self.drawing).await;
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.drawing.abort();
        for task in &self.asking {
            task.abort();
        }
    }
}

/// Asks one node what it sees, and for the events that are new, until nobody wants to know.
async fn ask(node: NodeId, client: Client, mut next: u64, news: mpsc::UnboundedSender<News>) {
    while !news.is_closed() {
        if let Ok(document) = crate::cli::fetch(&client, CLUSTER).await {
            let mut events = Vec::new();
            if document.applied_index >= next
                && let Ok((page, after)) = crate::cli::events(&client, CLUSTER, next, PAGE).await
            {
                (events, next) = (page, after);
            }
            let document = Box::new(document);
            let _ = news.send(News::Answer {
                node,
                document,
                events,
            });
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

struct Drawing {
    picture: Picture,
    clients: Clients,
    names: BTreeMap<SocketAddr, String>,
    canvas: Canvas,
    fault_ms: Option<u64>,
    /// Not shown yet, by the time at which they happened and the order in which they came.
    steps: BTreeMap<(u64, u64), String>,
    numbered: u64,
    /// Votes that were shown, without how long the silence had lasted.
    voted: BTreeSet<String>,
    /// When somebody was chosen, until a node tells why.
    chosen_ms: Option<u64>,
    shown_index: u64,
    first_ack_shown: bool,
    /// The second after the fault in which the counts were last written.
    counted: Option<u64>,
    counts: VecDeque<(Instant, usize)>,
}

impl Drawing {
    async fn run(mut self, mut incoming: mpsc::UnboundedReceiver<News>) {
        let mut ticks = tokio::time::interval(DRAW_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                news = incoming.recv() => match news {
                    Some(News::Answer { node, document, events }) => {
                        self.took(events);
                        self.picture.answered(node, *document);
                    }
                    Some(News::Fault { at_ms, what }) => {
                        self.fault_ms = Some(at_ms);
                        self.step(at_ms, what);
                    }
                    Some(News::End { document, events }) => {
                        self.took(events);
                        self.picture.answered(document.answered_by, *document);
                        self.draw(true);
                        return;
                    }
                    None => return,
                },
                _ = ticks.tick() => self.draw(false),
            }
        }
    }

    fn step(&mut self, at_ms: u64, what: String) {
        self.numbered += 1;
        self.steps.insert((at_ms, self.numbered), what);
    }

    /// Notes events that no other node has told yet.
    fn took(&mut self, events: Vec<HistoryEvent>) {
        let mut last = self.shown_index;
        for event in events {
            if event.log_index < self.shown_index {
                continue;
            }
            last = last.max(event.log_index + 1);
            if self.fault_ms.is_none_or(|fault| event.wall_ms < fault) {
                continue;
            }
            // A vote that says the same, only longer, is in the panel.
            let said = event.event.what.split(" for ").next().unwrap_or_default();
            if event.event.kind == EventKind::Voted && !self.voted.insert(said.to_owned()) {
                continue;
            }
            self.step(event.wall_ms, event.event.what.clone());
            if event.event.kind == EventKind::Chosen {
                self.chosen_ms = Some(event.wall_ms);
            }
        }
        self.shown_index = last;
    }

    fn draw(&mut self, end: bool) {
        let (now, now_ms) = (Instant::now(), clock::wall_ms());
        let writes = self.writes(now);
        let changes = self.picture.changes(now);
        if let Some(fault_ms) = self.fault_ms {
            self.first_ack();
            // Where there is no panel, the clients' counts are a line a second.
            let second = now_ms.saturating_sub(fault_ms) / 1_000;
            if matches!(self.canvas, Canvas::Lines) && self.counted != Some(second) {
                self.counted = Some(second);
                self.step(now_ms, format!("writes: {writes}"));
            }
            for change in changes {
                self.step(now_ms, change);
            }
            if let (Some(at_ms), Some(choice)) = (self.chosen_ms, self.picture.choice()) {
                let why: Vec<_> = choice.why.iter().map(|why| format!("    {why}")).collect();
                let loss = format!(
                    "    acknowledged writes that could be missing: {}",
                    choice.loss
                );
                self.chosen_ms = None;
                for line in why.into_iter().chain([loss]) {
                    self.step(at_ms, line);
                }
            }
            let until = if end { u64::MAX } else { now_ms - HOLD_MS };
            let later = self.steps.split_off(&(until, 0));
            for ((at_ms, _), what) in std::mem::replace(&mut self.steps, later) {
                let at = at_ms as i64 - fault_ms as i64;
                self.canvas.step(&format!("{at:>6} ms"), &what);
            }
        }
        let since_ms = self
            .fault_ms
            .map(|fault_ms| now_ms.saturating_sub(fault_ms));
        self.canvas
            .show(|width| self.picture.panel(now, since_ms, &writes, width));
    }

    /// The first write that another server acknowledged.
    fn first_ack(&mut self) {
        if self.first_ack_shown {
            return;
        }
        if let Some(ack) = self.clients.ledger.first_elsewhere(self.clients.old) {
            self.first_ack_shown = true;
            let by = self.names.get(&ack.by).cloned().unwrap_or_default();
            self.step(ack.at_ms, format!("first write acknowledged by {by}"));
        }
    }

    fn writes(&mut self, now: Instant) -> Writes {
        let acked = self.clients.ledger.count();
        self.counts.push_back((now, acked));
        while self.counts.len() > 2 && now - self.counts[1].0 >= RATE_OVER {
            self.counts.pop_front();
        }
        let (since, before) = self.counts[0];
        let over_ms = (now - since).as_millis().max(1) as usize;
        Writes {
            clients: self.clients.writers,
            acked,
            per_second: (acked - before) * 1_000 / over_ms,
            to: self
                .clients
                .primary
                .borrow()
                .as_ref()
                .map(|found| found.instance.to_string()),
        }
    }
}

/// A terminal's screen, or lines.
enum Canvas {
    Terminal { term: Term, drawn: usize },
    Lines,
}

impl Canvas {
    fn new() -> Self {
        if std::io::stdout().is_terminal() {
            let term = Term::buffered_stdout();
            Canvas::Terminal { term, drawn: 0 }
        } else {
            Canvas::Lines
        }
    }

    /// One step, for good. A screen that is gone ends nothing: the run's result is still wanted.
    fn step(&mut self, at: &str, what: &str) {
        match self {
            Canvas::Terminal { term, drawn } => {
                let _ = term.clear_last_lines(*drawn);
                *drawn = 0;
                let width = usize::from(term.size().1);
                let indent = at.len() + 2;
                let mut at = style(at).dim().to_string();
                for line in wrap(what, width.saturating_sub(indent)) {
                    let _ = term.write_line(&format!("{at}  {line}"));
                    at = " ".repeat(indent - 2);
                }
            }
            Canvas::Lines => line(&format!("{at}  {what}")),
        }
    }

    /// Redraws the panel.
    fn show(&mut self, panel: impl Fn(usize) -> Vec<String>) {
        let Canvas::Terminal { term, drawn } = self else {
            return;
        };
        let (height, width) = term.size();
        let (height, width) = (usize::from(height), usize::from(width));
        let mut rows = panel(width);
        rows.truncate(height.saturating_sub(1));
        let _ = term.clear_last_lines(*drawn);
        for row in &rows {
            let _ = term.write_line(&truncate_str(row, width, "…"));
        }
        *drawn = rows.len();
        let _ = term.flush();
    }
}

/// A line to a reader that may be gone.
fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", truncate_str(text, LINE_WIDTH, "…"));
}
