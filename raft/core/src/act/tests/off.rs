//! Under `automation=off` what a person closed is a person's to open.

use super::*;

fn off() -> NamedPrimary {
    NamedPrimary {
        hands_off: true,
        ..named(1, "a")
    }
}

fn shut() -> Survey {
    Survey {
        read_only: true,
        super_read_only: true,
        ..open()
    }
}

/// Serving under `off`; a person has closed it.
fn closed() -> Desk {
    let mut desk = Desk::serving();
    desk.waits(100, &open());
    hears(&mut desk, off());
    assert_eq!(desk.agent.serving(), Some(Epoch(1)));
    assert_eq!(desk.waits(300, &shut()), "", "it is left so");
    assert_eq!(desk.agent.serving(), None);
    assert_eq!(desk.beats().role, Role::Closed);
    desk
}

/// A node has had its newest beat.
fn hears(desk: &mut Desk, told: NamedPrimary) {
    let beat = desk.beats().word.beat;
    desk.acknowledged(beat, told);
}

#[test]
fn whoever_closed_it_opens_it() {
    let mut desk = closed();
    for half in [
        shut(),
        Survey {
            offline_mode: true,
            ..open()
        },
        // `super_read_only=OFF` leaves it.
        Survey {
            read_only: true,
            ..open()
        },
    ] {
        desk.waits(300, &half);
        assert_eq!(desk.beats().role, Role::Closed);
    }
    desk.waits(200, &open());
    assert_eq!(desk.beats().role, Role::Open(Epoch(1)));
    assert_eq!(
        desk.agent.serving(),
        None,
        "as after a sleep: not on its own word"
    );
    hears(&mut desk, off());
    assert_eq!(desk.agent.serving(), Some(Epoch(1)));
    // And again.
    desk.waits(300, &shut());
    assert_eq!(desk.agent.serving(), None);
}

#[test]
fn nobody_opens_what_is_no_longer_the_primary_or_another_server() {
    let opens = |bend: &dyn Fn(&mut Desk)| {
        let mut desk = closed();
        bend(&mut desk);
        desk.waits(300, &open());
        let beat = desk.beats().word.beat;
        desk.acknowledged(beat, desk.agent.named().expect("it was told").clone());
        (desk.beats().role, desk.agent.serving())
    };
    let open = (Role::Open(Epoch(1)), Some(Epoch(1)));
    assert_eq!(opens(&|_| {}), open);
    let bends: [&dyn Fn(&mut Desk); 5] = [
        &|desk| {
            desk.acknowledged(1, named(1, "a"));
        },
        &|desk| {
            let deposed = NamedPrimary {
                deposed: true,
                ..off()
            };
            desk.acknowledged(1, deposed);
        },
        &|desk| {
            let next = NamedPrimary {
                hands_off: true,
                ..named(2, "b")
            };
            desk.acknowledged(1, next);
        },
        &|desk| {
            desk.order(fence(1), 2);
            desk.ends(confirmed());
        },
        &|desk| {
            desk.tell(AgentInput::ServerExited);
            desk.waits(10_010, &fenced());
            desk.comes_up(fenced());
        },
    ];
    for (number, bend) in bends.into_iter().enumerate() {
        let (role, serving) = opens(bend);
        assert_eq!((role, serving), (Role::Closed, None), "{number}");
    }
}
