//! What a rollback chooses, where a whole story would only get in the way.

use tidegate_core::admission::Current;
use tidegate_core::rollback::{Choice, NoRollback, RollbackTo, Running, Situation, choose};
use tidegate_core::service::{Promoted, Quarantined, ServiceRecord};
use tidegate_testkit::{build, names};

/// Builds that were promoted, newest first; those that were rolled back later.
fn head(promoted: &[u32], rolled_back: &[u32]) -> ServiceRecord {
    let mut head = ServiceRecord::new(build::policy(), names::start());
    head.promoted = promoted
        .iter()
        .map(|build| Promoted {
            release: names::release(*build),
            change: names::change(*build),
            deployed: names::deployed(*build),
            at: names::start(),
        })
        .collect();
    for build in rolled_back {
        let why =
            Quarantined { release: names::release(*build), why: "it was bad".into(), at: names::start() };
        head.quarantine.insert(names::digest(*build), why);
    }
    head
}

fn chosen(head: &ServiceRecord, runs: u32, wanted: RollbackTo<'_>) -> Result<(String, String), NoRollback> {
    let current = Current { head, active: None, waiting: None };
    let running = Running::Digests([(names::container(), names::digest(runs))].into());
    match choose(Situation { current, last: None, running: &running }, &names::service(), wanted)? {
        Choice::Earlier { from, to, .. } => Ok((from.label, to.change.label())),
        Choice::UnderWay { .. } => panic!("nothing is under way"),
    }
}

#[test]
fn the_newest_good_version_before_the_live_one_comes_back() {
    let label = |build: u32| names::image(build).label();
    assert_eq!(chosen(&head(&[3, 2, 1], &[]), 3, RollbackTo::Before).unwrap(), (label(3), label(2)));
    assert_eq!(chosen(&head(&[3, 2, 1], &[2]), 3, RollbackTo::Before).unwrap(), (label(3), label(1)));
    // The same image promoted twice is one version.
    assert_eq!(chosen(&head(&[3, 3, 1], &[]), 3, RollbackTo::Before).unwrap(), (label(3), label(1)));
    // What is live decides, not what was promoted last: somebody put the older version back by hand.
    let refused = chosen(&head(&[3, 2, 1], &[]), 2, RollbackTo::Before).unwrap_err();
    assert!(
        matches!(&refused, NoRollback::AlreadyThere { to: Some(to), .. } if to.change == names::change(1)),
        "{refused}"
    );
}

#[test]
fn where_nothing_is_left_the_one_that_was_rolled_back_is_named() {
    let refused = chosen(&head(&[3, 2], &[2]), 3, RollbackTo::Before).unwrap_err();
    let NoRollback::NothingBefore { quarantined } = &refused else { panic!("{refused}") };
    assert_eq!(quarantined.iter().map(|(one, _)| &one.change).collect::<Vec<_>>(), [&names::change(2)]);
    assert!(refused.to_string().contains("was rolled back itself (it was bad)"), "{refused}");
    let refused = chosen(&head(&[3], &[]), 3, RollbackTo::Before).unwrap_err();
    assert!(refused.to_string().contains("no other version was promoted before"), "{refused}");
}

#[test]
fn a_destination_is_named_by_tag_id_or_digest_and_must_mean_one_image() {
    let head = head(&[3, 2, 1], &[1]);
    let tag = names::tag(2).to_string();
    for named in [tag.as_str(), names::release(2).as_str(), names::digest(2).as_str()] {
        assert_eq!(chosen(&head, 3, RollbackTo::To(named)).unwrap().1, names::image(2).label(), "{named}");
    }
    // All ids begin alike.
    let several = chosen(&head, 3, RollbackTo::To(&names::release(2).as_str()[..2])).unwrap_err();
    assert!(matches!(several, NoRollback::Several { .. }), "{several}");
    let itself = chosen(&head, 3, RollbackTo::To(names::release(3).as_str())).unwrap_err();
    assert!(matches!(itself, NoRollback::Runs { .. }), "{itself}");
    let bad = chosen(&head, 3, RollbackTo::To(names::release(1).as_str())).unwrap_err();
    assert!(matches!(bad, NoRollback::Quarantined { .. }), "{bad}");
    let unknown = chosen(&head, 3, RollbackTo::To("main-99")).unwrap_err();
    assert!(matches!(unknown, NoRollback::NotPromoted { .. }), "{unknown}");
}
