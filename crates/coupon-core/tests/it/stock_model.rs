//! The Lua scripts against a model: every sequence of calls gives the model's answers.

use std::collections::BTreeMap;

use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    stock::{
        FillOutcome, GateOutcome, GiveBack, Holder, OutboxEntry, OutboxListing, Refused, Reservation, SetTotal, Stock,
    },
};
use proptest::{prelude::*, test_runner::TestRunner};
use uuid::Uuid;

use crate::servers::{fill_of, forget, redis_url, stock};

pub const CAP: usize = 3;
const MEMBERS: usize = 5;

#[derive(Clone, Debug)]
enum Step {
    /// A member asks, with a new request id.
    Reserve(usize),
    /// Members ask together, one of them perhaps twice.
    ReserveAll(Vec<usize>),
    /// The n-th request that was ever made is made again.
    Repeat(usize),
    /// The n-th request is given back, whatever has happened to it since.
    GiveBack(usize),
    /// The n-th request's mark is handed over to a new request id.
    Swap(usize),
    /// The total is set, under the next version or an old one.
    SetTotal {
        total: i64,
        late: bool,
    },
    /// The n-th request's promise is acknowledged.
    Acknowledge(usize),
    Close,
    Open,
}

/// What Redis should hold.
#[derive(Default)]
struct Model {
    total: i64,
    version: i64,
    seq: i64,
    open: bool,
    marks: BTreeMap<usize, RequestId>,
    outbox: BTreeMap<RequestId, usize>,
    /// Every request ever made, with its member.
    requests: Vec<(usize, RequestId)>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let nth = 0..20_usize;
    let step = prop_oneof![
        6 => (0..MEMBERS).prop_map(Step::Reserve),
        3 => proptest::collection::vec(0..MEMBERS, 1..6).prop_map(Step::ReserveAll),
        2 => nth.clone().prop_map(Step::Repeat),
        3 => nth.clone().prop_map(Step::GiveBack),
        1 => nth.clone().prop_map(Step::Swap),
        2 => (0..6_i64, any::<bool>()).prop_map(|(total, late)| Step::SetTotal { total, late }),
        3 => nth.prop_map(Step::Acknowledge),
        1 => Just(Step::Close),
        2 => Just(Step::Open),
    ];
    proptest::collection::vec(step, 1..40)
}

#[test]
fn every_sequence_of_calls_gives_the_models_answers_and_never_more_marks_than_the_total() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stock = runtime.block_on(async { stock() });
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    let run = |steps| {
        let code: CouponCode = format!("MODEL-{}", Uuid::now_v7().simple()).parse().unwrap();
        runtime.block_on(async {
            play(&stock, &code, steps).await;
            forget(&code).await;
        });
        Ok(())
    };
    TestRunner::new(config).run(&steps(), run).unwrap();
}

async fn play(stock: &Stock, code: &CouponCode, steps: Vec<Step>) {
    let mut model = Model { total: 2, open: true, ..Model::default() };
    let fill = fill_of(2);
    assert_eq!(reserve(stock, code, 0, new_id()).await, Err(Refused::Missing));
    assert_eq!(stock.begin_fill(code, &fill).await.unwrap(), FillOutcome::Filling);
    assert_eq!(reserve(stock, code, 0, new_id()).await, Err(Refused::Filling));
    assert_eq!(stock.open(code, 1, 2, 0).await.unwrap(), GateOutcome::Done);
    // Filled by a build that counts no holders: the first who asks learns how many there are.
    let mut known = steps.len().is_multiple_of(2);
    if !known {
        let _: i64 = raw(redis::cmd("HDEL").arg(key(code, "meta")).arg("holders")).await;
    }
    for step in steps {
        model.step(stock, code, &step).await;
        known |= matches!(step, Step::Reserve(_) | Step::ReserveAll(_));
        for member in 0..MEMBERS {
            let holds = model.marks.get(&member).map_or(Holder::Nothing, |request_id| Holder::Holds {
                request_id: *request_id,
                pending: model.outbox.contains_key(request_id),
            });
            assert_eq!(stock.holder(code, &name(member)).await.unwrap(), holds, "member {member} after {step:?}");
        }
        let view = stock.view(code).await.unwrap().unwrap();
        let held = i64::try_from(model.marks.len()).unwrap();
        assert_eq!((view.issued, view.total, view.seq), (held, model.total, model.seq), "after {step:?}");
        assert_eq!(view.outbox, i64::try_from(model.outbox.len()).unwrap(), "after {step:?}");
        assert!(held <= model.total, "more marks than coupons after {step:?}");
        if known {
            assert_eq!(holders(code).await, Some(held), "after {step:?}");
        }
    }
    model.drain(stock, code).await;
}

impl Model {
    async fn step(&mut self, stock: &Stock, code: &CouponCode, step: &Step) {
        match *step {
            Step::Reserve(member) => {
                let id = new_id();
                self.requests.push((member, id));
                self.reserve(stock, code, member, id).await;
            }
            Step::ReserveAll(ref members) => {
                let requests: Vec<_> = members.iter().map(|&member| (member, new_id())).collect();
                self.requests.extend(&requests);
                self.reserve_all(stock, code, &requests).await;
            }
            Step::Repeat(nth) => {
                let Some((member, id)) = self.nth(nth) else { return };
                // A request that was given back and is made again is a new reservation under an old name.
                self.reserve(stock, code, member, id).await;
            }
            Step::GiveBack(nth) => {
                let Some((member, id)) = self.nth(nth) else { return };
                let done = stock.give_back(code, &name(member), id, None).await.unwrap();
                assert_eq!(done == GiveBack::Done, self.marks.get(&member) == Some(&id));
                if done == GiveBack::Done {
                    self.marks.remove(&member);
                }
            }
            Step::Swap(nth) => {
                let Some((member, id)) = self.nth(nth) else { return };
                let successor = new_id();
                let done = stock.give_back(code, &name(member), id, Some(successor)).await.unwrap();
                assert_eq!(done == GiveBack::Done, self.marks.get(&member) == Some(&id));
                if done == GiveBack::Done {
                    self.marks.insert(member, successor);
                }
            }
            Step::SetTotal { total, late } => self.set_total(stock, code, total, late).await,
            Step::Acknowledge(nth) => {
                let Some((member, request_id)) = self.nth(nth) else { return };
                let entry = OutboxEntry { request_id, epoch: 1, member_id: name(member) };
                assert_eq!(
                    stock.are_pending(code, std::slice::from_ref(&entry)).await.unwrap(),
                    [self.outbox.contains_key(&request_id)]
                );
                stock.acknowledge(code, &[entry]).await.unwrap();
                self.outbox.remove(&request_id);
            }
            Step::Close => {
                assert_eq!(stock.close(code, 1).await.unwrap(), GateOutcome::Done);
                self.open = false;
            }
            Step::Open => {
                assert_eq!(stock.open(code, 1, 0, 0).await.unwrap(), GateOutcome::Done);
                self.open = true;
            }
        }
    }

    async fn reserve(&mut self, stock: &Stock, code: &CouponCode, member: usize, id: RequestId) {
        let answer = reserve(stock, code, member, id).await;
        let expected = self.decide(member, id);
        assert_eq!(seen(answer), expected);
    }

    async fn reserve_all(&mut self, stock: &Stock, code: &CouponCode, requests: &[(usize, RequestId)]) {
        let members: Vec<MemberId> = requests.iter().map(|(member, _)| name(*member)).collect();
        let asked: Vec<_> = requests.iter().zip(&members).map(|((_, id), member)| (*id, member)).collect();
        let answers = stock.reserve_all(code, &asked, CAP as u64).await.unwrap();
        let seqs: Vec<i64> = answers
            .iter()
            .filter_map(|answer| {
                answer.as_ref().unwrap().as_ref().ok().filter(|held| !held.is_repeat)?.pending.as_ref()
            })
            .map(|event| event.seq)
            .collect();
        assert_eq!(
            seqs,
            (self.seq + 1..).take(seqs.len()).collect::<Vec<_>>(),
            "each reservation has its own sequence"
        );
        let expected: Vec<_> = requests.iter().map(|(member, id)| self.decide(*member, *id)).collect();
        assert_eq!(answers.into_iter().map(|answer| seen(answer.unwrap())).collect::<Vec<_>>(), expected);
    }

    /// What the next request is answered.
    fn decide(&mut self, member: usize, id: RequestId) -> Seen {
        match self.marks.get(&member).copied() {
            Some(holder) => Ok((holder, holder == id, self.outbox.contains_key(&holder))),
            None if !self.open => Err(Refused::Closed),
            None if i64::try_from(self.marks.len()).unwrap() >= self.total => Err(Refused::SoldOut),
            None if self.outbox.len() >= CAP => Err(Refused::OutboxFull),
            None => {
                self.seq += 1;
                self.marks.insert(member, id);
                self.outbox.insert(id, member);
                Ok((id, true, true))
            }
        }
    }

    async fn set_total(&mut self, stock: &Stock, code: &CouponCode, total: i64, late: bool) {
        let version = if late { self.version - 1 } else { self.version + 1 };
        let held = i64::try_from(self.marks.len()).unwrap();
        let expected = match () {
            () if late => SetTotal::Newer,
            () if total < held => SetTotal::BelowIssued(held),
            () => SetTotal::Set,
        };
        assert_eq!(stock.set_total(code, total, version).await.unwrap(), expected);
        if expected == SetTotal::Set {
            (self.total, self.version) = (total, version);
            assert_eq!(stock.set_total(code, total, version).await.unwrap(), SetTotal::Set, "a repeat changes nothing");
        }
    }

    /// The relay sees every promise that is left, once.
    async fn drain(&self, stock: &Stock, code: &CouponCode) {
        let seconds = std::time::Duration::from_secs;
        let relay = stock.relay(code, "a", seconds(5), seconds(0), 100).await.unwrap();
        if self.outbox.is_empty() {
            assert_eq!(relay, OutboxListing::default());
            return;
        }
        let OutboxListing { due: Some(due), waiting, .. } = relay else { panic!("{relay:?}") };
        assert_eq!(waiting, self.outbox.len() as u64);
        let found: BTreeMap<RequestId, usize> =
            due.iter().map(|event| (event.request_id, member(&event.member_id))).collect();
        assert_eq!(found, self.outbox);
        let of_another = stock.relay(code, "b", seconds(5), seconds(0), 100).await.unwrap();
        assert!(
            matches!(of_another, OutboxListing { due: None, waiting: all, .. } if all == waiting),
            "{of_another:?}"
        );
        let OutboxListing { due: Some(due), .. } = stock.relay(code, "a", seconds(5), seconds(60), 100).await.unwrap()
        else {
            panic!()
        };
        assert_eq!(due, [], "entries younger than the least age are not due");
    }

    fn nth(&self, nth: usize) -> Option<(usize, RequestId)> {
        self.requests.get(nth % self.requests.len().max(1)).copied()
    }
}

pub async fn raw<T: redis::FromRedisValue>(command: &redis::Cmd) -> T {
    let mut redis = redis::Client::open(redis_url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    command.query_async(&mut redis).await.unwrap()
}

pub fn key(code: &CouponCode, part: &str) -> String {
    format!("coupon:{{{code}}}:{part}")
}

pub async fn holders(code: &CouponCode) -> Option<i64> {
    raw(redis::cmd("HGET").arg(key(code, "meta")).arg("holders")).await
}

/// The request that holds, whether it is the one that asked, and whether its event is in the outbox.
type Seen = Result<(RequestId, bool, bool), Refused>;

fn seen(answer: Reservation) -> Seen {
    answer.map(|held| (held.request_id, !held.is_repeat, held.pending.is_some()))
}

pub async fn reserve(stock: &Stock, code: &CouponCode, member: usize, id: RequestId) -> Reservation {
    stock.reserve(code, &name(member), id, CAP as u64).await.unwrap()
}

pub fn name(member: usize) -> MemberId {
    format!("m|{member}").parse().unwrap()
}

fn member(name: &MemberId) -> usize {
    name.as_str()[2..].parse().unwrap()
}

pub fn new_id() -> RequestId {
    Uuid::now_v7().into()
}
