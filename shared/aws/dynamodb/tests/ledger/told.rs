//! What receivers were told: a row for each beside the release, written by one of those who come at the same time, and read by nobody else.

use aws_sdk_dynamodb::types::AttributeValue;
use tidegate_core::fault::ErrorKind;
use tidegate_core::notify::{Mark, NotSent, Step, Told, Trial, Tried};
use tidegate_core::ports::{Ledger as _, Notebook as _};

use crate::fixture::*;

const FIRST: Mark = Mark { version: 1, index: 0 };

fn claimed(told: &Told, second: i64) -> Told {
    match told.step(FIRST, at(second)) {
        Step::Tell(told) => told,
        Step::Wait(until) => panic!("it waits until {until}"),
    }
}

#[tokio::test]
async fn what_was_told_is_written_once_for_each_receiver_and_is_in_nobodys_way() {
    let fixture = Fixture::new("told").await;
    let release = release(1, "checkout");
    fixture.create(std::slice::from_ref(&release)).await;
    let ledger = &fixture.ledger;
    assert_eq!(ledger.told(&id(1)).await.unwrap().whole().unwrap(), []);
    let slack = claimed(&Told::nothing("slack #deploys".into()), 1);
    let teams = claimed(&Told::nothing("teams deploys".into()), 1);
    ledger.note(&id(1), &slack).await.unwrap();
    ledger.note(&id(1), &teams).await.unwrap();
    // Whoever comes second with the same claim is told so.
    assert_eq!(ledger.note(&id(1), &slack).await.unwrap_err().kind, ErrorKind::Conflict);
    let sent = slack.sent(FIRST, [("ts".to_owned(), "1.2".to_owned())].into(), None, at(2));
    ledger.note(&id(1), &sent).await.unwrap();
    assert_eq!(ledger.note(&id(1), &sent).await.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(ledger.told(&id(1)).await.unwrap().whole().unwrap(), [sent, teams]);
    assert_eq!(ledger.told(&id(2)).await.unwrap().whole().unwrap(), []);
    // The release and its history are what they were.
    assert_eq!(ledger.release(&id(1)).await.unwrap(), Some(release));
    assert_eq!(ledger.history(&id(1)).await.unwrap().whole().unwrap().len(), 1);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_told_with_its_receiver() {
    let fixture = Fixture::new("told-damaged").await;
    let slack = claimed(&Told::nothing("slack #deploys".into()), 1);
    fixture.ledger.note(&id(1), &slack).await.unwrap();
    let error = NotSent::new("down");
    let tidegate_core::notify::Failure::Again { told, .. } = slack.not_sent(&error, FIRST, at(2)) else {
        panic!("it is tried again")
    };
    fixture.ledger.note(&id(1), &told).await.unwrap();
    let (pk, sk) = (format!("RELEASE#{}", id(1)), "TOLD#slack #deploys");
    fixture.damage(&pk, sk, "body", AttributeValue::S("{".into())).await;
    let (rows, damaged) = fixture.ledger.told(&id(1)).await.unwrap().split();
    assert_eq!(rows, []);
    assert_eq!(damaged[0].name, format!("what slack #deploys was told of release {}", id(1)));
}

#[tokio::test]
async fn a_trial_is_asked_for_and_answered() {
    let fixture = Fixture::new("trial").await;
    let service = name("checkout");
    fixture.ledger.ask_trial(&service, "7", at(1)).await.unwrap();
    assert_eq!(fixture.ledger.trial(&service, "7").await.unwrap(), None);
    let tried =
        vec![Tried::new("teams a".into(), Ok(())), Tried::new("webhook b".into(), Err(NotSent::new("x")))];
    let trial = Trial { id: "7".into(), at: at(2), tried };
    fixture.ledger.put_trial(&service, &trial).await.unwrap();
    assert_eq!(fixture.ledger.trial(&service, "7").await.unwrap(), Some(trial));
    assert_eq!(fixture.ledger.trial(&service, "8").await.unwrap(), None);
}
