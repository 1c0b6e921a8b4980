//! Lanes: turns, shares, limits, circuits, what is read, and what is forgotten. A small model of the books stands beside them.

use std::collections::BTreeMap;

use countersign_core::{AccountId, CallbackUrl, RequestId, Timestamp, TokenClaim};
use countersign_store::Lease;
use countersign_store::RequestRef;

use super::*;

const CIRCUITS: CircuitSettings = CircuitSettings {
    failures: 3,
    first_cool_down: Duration::from_secs(5),
    longest_cool_down: Duration::from_mins(5),
};
const QUICK: Ended = Ended::Acknowledged(Duration::from_millis(5));

fn account(number: i64) -> AccountKey {
    AccountKey::of_new(AccountId::new(number).unwrap())
}

fn lane(number: i64, host: &str) -> ReportLane {
    ReportLane {
        account: account(number),
        host: Arc::from(host),
    }
}

fn report(of: i64, host: &str, number: u64) -> DueReport {
    DueReport {
        key: ReportKey {
            request: RequestRef {
                account: account(of),
                id: RequestId::new(Timestamp::default(), number),
            },
            number: 1,
        },
        host: Arc::from(host),
        callback_url: CallbackUrl::from_stored(format!("https://{host}/")),
        body: Vec::new(),
        token: TokenClaim::PRESENT,
        attempts: 0,
        due_at: Timestamp::from_millis(i64::try_from(number).unwrap()),
        lease: Lease::default(),
    }
}

fn lanes() -> Lanes {
    Lanes::new(Bounds::default(), CIRCUITS)
}

fn offer(lanes: &mut Lanes, report: DueReport, now: Instant) -> Offered {
    lanes.offer(report, now).0
}

fn start_all(lanes: &mut Lanes, now: Instant) -> Vec<Start> {
    std::iter::from_fn(|| lanes.start(now)).collect()
}

/// Ends an attempt and records it.
fn end(lanes: &mut Lanes, start: &Start, ended: Ended, now: Instant) -> Option<HeldBack> {
    let held_back = lanes.ended(&start.ticket, ended, now);
    lanes.recorded(start.ticket.key, &start.ticket.lane, now);
    held_back
}

#[test]
fn a_report_that_waits_is_under_way_or_is_being_recorded_is_not_taken_in_again() {
    let (mut lanes, now) = (lanes(), Instant::now());
    assert_eq!(offer(&mut lanes, report(1, "a", 1), now), Offered::Taken);
    assert_eq!(offer(&mut lanes, report(1, "a", 1), now), Offered::Known);
    let start = lanes.start(now).unwrap();
    assert_eq!(offer(&mut lanes, report(1, "a", 1), now), Offered::Known);
    lanes.ended(&start.ticket, QUICK, now);
    assert_eq!(offer(&mut lanes, report(1, "a", 1), now), Offered::Known);
    lanes.recorded(start.ticket.key, &start.ticket.lane, now);
    assert_eq!(offer(&mut lanes, report(1, "a", 1), now), Offered::Taken);
}

#[test]
fn accounts_take_turns_and_so_do_the_lanes_of_one() {
    let (mut lanes, now) = (lanes(), Instant::now());
    for number in 0..3 {
        offer(&mut lanes, report(1, "a", number), now);
        offer(&mut lanes, report(1, "b", 10 + number), now);
    }
    offer(&mut lanes, report(2, "a", 20), now);
    let order: Vec<(i64, String)> = start_all(&mut lanes, now)
        .iter()
        .map(|start| {
            (
                start.ticket.lane.account.id.number(),
                start.ticket.lane.host.to_string(),
            )
        })
        .collect();
    let told: Vec<(i64, &str)> = order.iter().map(|(account, host)| (*account, host.as_str())).collect();
    assert_eq!(
        told,
        [(1, "a"), (2, "a"), (1, "b"), (1, "a"), (1, "b"), (1, "a"), (1, "b")]
    );
}

#[test]
fn a_lane_starts_with_eight_and_grows_with_quick_answers() {
    let (mut lanes, now) = (lanes(), Instant::now());
    for number in 0..250 {
        offer(&mut lanes, report(1, "a", number), now);
    }
    let mut under_way = start_all(&mut lanes, now);
    assert_eq!(under_way.len(), 8);
    let mut most = 0;
    while let Some(start) = under_way.pop() {
        end(&mut lanes, &start, QUICK, now);
        under_way.extend(start_all(&mut lanes, now));
        most = most.max(under_way.len());
    }
    assert!((100..=128).contains(&most), "{most} at once");
}

#[test]
fn tenants_whose_destinations_all_hang_leave_places_for_a_newcomer() {
    let (mut lanes, now) = (lanes(), Instant::now());
    for tenant in 1..=50 {
        for host in 0..40 {
            for number in 0..8 {
                offer(&mut lanes, report(tenant, &format!("h{host}"), host * 8 + number), now);
            }
        }
    }
    let hanging = start_all(&mut lanes, now);
    assert!(hanging.len() < 1_024, "{} under way", hanging.len());
    assert!(hanging.len() > 900, "only {} under way", hanging.len());
    offer(&mut lanes, report(99, "alive", 1), now);
    let newcomer = lanes.start(now).unwrap();
    assert_eq!(newcomer.ticket.lane.account, account(99));
}

#[test]
fn one_tenant_alone_leaves_places_for_its_other_destinations() {
    let (mut lanes, now) = (lanes(), Instant::now());
    for host in 0..400 {
        for number in 0..8 {
            offer(&mut lanes, report(1, &format!("h{host}"), host * 8 + number), now);
        }
    }
    let hanging = start_all(&mut lanes, now);
    assert!((400..=512).contains(&hanging.len()), "{} under way", hanging.len());
    offer(&mut lanes, report(1, "alive", 9_999), now);
    let alive = lanes.start(now);
    assert!(alive.is_some_and(|start| &*start.ticket.lane.host == "alive"));
}

#[test]
fn memory_is_shared_and_what_has_no_room_is_read_later() {
    let (mut lanes, now) = (lanes(), Instant::now());
    let mut taken = 0;
    for number in 0..100_000 {
        let host = format!("h{}", number % 1_000);
        taken += usize::from(offer(&mut lanes, report(1, &host, number), now) == Offered::Taken);
    }
    assert!((8_000..=8_192).contains(&taken), "{taken} of one tenant are in memory");
    let mut others = 0;
    for number in 0..1_000 {
        others +=
            usize::from(offer(&mut lanes, report(2, &format!("h{}", number % 10), number), now) == Offered::Taken);
    }
    assert_eq!(others, 1_000);
    // The lanes of the first are to be read once there is room; now there is none for it.
    assert_eq!(lanes.next_read(now), None);
}

#[test]
fn a_lane_is_read_on_from_its_place_and_from_the_beginning_once_its_end_was_reached() {
    let (mut lanes, now) = (lanes(), Instant::now());
    lanes.note_due(&lane(1, "a"), false, now);
    let first = lanes.next_read(now).unwrap();
    assert_eq!((first.after, first.limit), (None, PAGE));
    assert_eq!(lanes.next_read(now), None, "one read of a lane at a time");
    let page: Vec<DueReport> = (0..128).map(|number| report(1, "a", number)).collect();
    let last = page.last().map(DueReport::place);
    lanes.was_read(&first, page, now);
    assert_eq!(lanes.next_read(now), None, "there is enough in memory");
    let mut second = None;
    while second.is_none() {
        let start = lanes.start(now).unwrap();
        end(&mut lanes, &start, QUICK, now);
        second = lanes.next_read(now);
    }
    let second = second.unwrap();
    assert_eq!(second.after, last);
    lanes.was_read(&second, vec![report(1, "a", 128)], now);
    while let Some(start) = lanes.start(now) {
        end(&mut lanes, &start, QUICK, now);
    }
    assert_eq!(lanes.next_read(now), None);
    lanes.note_due(&lane(1, "a"), false, now);
    assert_eq!(lanes.next_read(now).unwrap().after, None);
}

#[test]
fn a_busy_lane_is_looked_at_from_its_beginning_only_now_and_then_or_where_something_was_missed() {
    let (mut lanes, now) = (lanes(), Instant::now());
    lanes.note_due(&lane(1, "a"), false, now);
    let read = lanes.next_read(now).unwrap();
    lanes.was_read(&read, vec![report(1, "a", 1)], now);
    let _under_way = lanes.start(now).unwrap();
    lanes.note_due(&lane(1, "a"), false, now);
    assert_eq!(lanes.next_read(now), None);
    lanes.note_due(&lane(1, "a"), true, now);
    let read = lanes.next_read(now).unwrap();
    lanes.was_read(&read, vec![report(1, "a", 1)], now);
    lanes.note_due(&lane(1, "a"), false, now + FRESH_LOOK_EVERY);
    assert!(lanes.next_read(now + FRESH_LOOK_EVERY).is_some());
}

#[test]
fn an_open_circuit_holds_everything_back_and_lets_one_probe_through() {
    let (mut lanes, now) = (lanes(), Instant::now());
    for number in 0..20 {
        offer(&mut lanes, report(1, "dead", number), now);
    }
    let under_way = start_all(&mut lanes, now);
    let mut held = Vec::new();
    for start in &under_way {
        held.extend(end(&mut lanes, start, Ended::Failed, now));
    }
    assert_eq!(held.len(), 1, "it opens once");
    let until = now + CIRCUITS.first_cool_down;
    assert_eq!((held[0].until, held[0].reports.len()), (until, 12));
    for report in held.remove(0).reports {
        lanes.recorded(report.key, &report.lane(), now);
    }
    assert_eq!(offer(&mut lanes, report(1, "dead", 50), now), Offered::Held { until });
    lanes.recorded(report(1, "dead", 50).key, &lane(1, "dead"), now);
    lanes.note_due(&lane(1, "dead"), false, now);
    assert_eq!(lanes.next_read(now), None, "nothing is read while nothing may go");
    // The other lanes of the account go on.
    assert_eq!(offer(&mut lanes, report(1, "alive", 60), now), Offered::Taken);
    assert!(lanes.start(now).is_some());

    lanes.note_due(&lane(1, "dead"), false, until);
    let read = lanes.next_read(until).unwrap();
    assert_eq!(read.limit, 1, "one probe is enough");
    lanes.was_read(&read, vec![report(1, "dead", 0)], until);
    let probe = lanes.start(until).unwrap();
    assert_eq!(lanes.next_read(until), None);
    assert_eq!(offer(&mut lanes, report(1, "dead", 70), until), Offered::Taken);
    assert!(lanes.start(until).is_none(), "one probe at a time");
    assert!(end(&mut lanes, &probe, QUICK, until).is_none());
    assert!(lanes.start(until).is_some(), "its circuit is closed");
    assert_eq!(lanes.next_read(until).unwrap().limit, PAGE);
}

#[test]
fn a_failed_probe_doubles_the_cool_down_and_holds_back_what_came_meanwhile() {
    let (mut lanes, now) = (lanes(), Instant::now());
    for number in 0..3 {
        offer(&mut lanes, report(1, "dead", number), now);
    }
    for start in start_all(&mut lanes, now) {
        end(&mut lanes, &start, Ended::Failed, now);
    }
    let until = now + CIRCUITS.first_cool_down;
    offer(&mut lanes, report(1, "dead", 1), until);
    let probe = lanes.start(until).unwrap();
    offer(&mut lanes, report(1, "dead", 2), until);
    let held_back = end(&mut lanes, &probe, Ended::Failed, until).unwrap();
    assert_eq!(held_back.until, until + 2 * CIRCUITS.first_cool_down);
    assert_eq!(held_back.reports.len(), 1);
}

#[test]
fn a_report_that_was_not_sent_is_no_longer_known_and_says_nothing_of_its_destination() {
    let (mut lanes, now) = (lanes(), Instant::now());
    for _ in 0..10 {
        assert_eq!(offer(&mut lanes, report(1, "a", 1), now), Offered::Taken);
        let start = lanes.start(now).unwrap();
        assert!(lanes.ended(&start.ticket, Ended::NothingSent, now).is_none());
    }
}

#[test]
fn lanes_with_nothing_to_do_are_forgotten_and_never_more_than_the_bound_remembered() {
    let bounds = Bounds {
        lanes: 10,
        ..Bounds::default()
    };
    let (mut lanes, now) = (Lanes::new(bounds, CIRCUITS), Instant::now());
    for host in 0..100 {
        assert_eq!(
            offer(&mut lanes, report(1, &format!("h{host}"), host), now),
            Offered::Taken
        );
        let start = lanes.start(now).unwrap();
        end(&mut lanes, &start, QUICK, now);
        assert!(lanes.by_name.len() <= 10);
    }
    lanes.forget_quiet(now);
    assert_eq!(lanes.by_name.len(), 5, "as many as are left free");
    lanes.forget_quiet(now + QUIET_LIFE);
    assert!(lanes.by_name.is_empty() && lanes.accounts.is_empty() && lanes.known.is_empty());
    // Where all are busy there is no room for another.
    for host in 0..10 {
        offer(&mut lanes, report(1, &format!("h{host}"), host), now);
    }
    assert_eq!(offer(&mut lanes, report(1, "one more", 99), now), Offered::Full);
}

#[test]
fn an_account_that_makes_up_destinations_leaves_others_their_lanes_their_circuits_and_their_turns() {
    let bounds = Bounds {
        lanes: 10,
        ..Bounds::default()
    };
    let (mut lanes, now) = (Lanes::new(bounds, CIRCUITS), Instant::now());
    for number in 0..3 {
        offer(&mut lanes, report(2, "dead", number), now);
    }
    for start in start_all(&mut lanes, now) {
        end(&mut lanes, &start, Ended::Failed, now);
    }
    for host in 0..100 {
        offer(&mut lanes, report(1, &format!("quiet{host}"), host), now);
        for start in start_all(&mut lanes, now) {
            end(&mut lanes, &start, QUICK, now);
        }
    }
    for host in 100..200 {
        offer(&mut lanes, report(1, &format!("busy{host}"), host), now);
    }
    lanes.note_due(&lane(1, "told"), false, now);
    assert!(!lanes.by_name.contains_key(&lane(1, "told")));
    let held = offer(&mut lanes, report(2, "dead", 3), now);
    assert!(matches!(held, Offered::Held { .. }), "its circuit is open still");
    assert_eq!(offer(&mut lanes, report(2, "alive", 4), now), Offered::Taken);
    let started = start_all(&mut lanes, now);
    assert!(
        started
            .iter()
            .take(2)
            .any(|start| start.ticket.lane == lane(2, "alive"))
    );
}

#[test]
fn an_account_without_a_lane_takes_the_place_of_a_quiet_one() {
    let bounds = Bounds {
        lanes: 10,
        ..Bounds::default()
    };
    let (mut lanes, now) = (Lanes::new(bounds, CIRCUITS), Instant::now());
    for number in 1..=100 {
        let id = u64::try_from(number).unwrap();
        assert_eq!(offer(&mut lanes, report(number, "a", id), now), Offered::Taken);
        let start = lanes.start(now).unwrap();
        end(&mut lanes, &start, QUICK, now);
    }
    assert_eq!((lanes.by_name.len(), lanes.accounts.len()), (10, 10));
}

#[test]
fn what_cannot_wait_in_memory_makes_no_lane() {
    let bounds = Bounds {
        waiting: 4,
        ..Bounds::default()
    };
    let (mut lanes, now) = (Lanes::new(bounds, CIRCUITS), Instant::now());
    for host in 0..100 {
        offer(&mut lanes, report(1, &format!("h{host}"), host), now);
    }
    assert_eq!(lanes.by_name.len(), 2);
    assert_eq!(offer(&mut lanes, report(2, "other", 100), now), Offered::Taken);
}

#[test]
fn an_open_circuit_is_remembered_longer() {
    let (mut lanes, now) = (lanes(), Instant::now());
    for number in 0..3 {
        offer(&mut lanes, report(1, "dead", number), now);
    }
    for start in start_all(&mut lanes, now) {
        end(&mut lanes, &start, Ended::Failed, now);
    }
    lanes.forget_quiet(now + QUIET_LIFE);
    assert_eq!(lanes.by_name.len(), 1);
    lanes.forget_quiet(now + QUIET_LIFE + OPEN_LIFE);
    lanes.forget_quiet(now + 2 * QUIET_LIFE + OPEN_LIFE);
    assert!(lanes.by_name.is_empty());
}

/// What the books hold of each lane, in order, and how far each report has come.
#[derive(Default)]
struct Books {
    due: BTreeMap<ReportLane, BTreeMap<DuePlace, DueReport>>,
    rows_read: usize,
}

impl Books {
    fn add(&mut self, report: DueReport) {
        self.due
            .entry(report.lane())
            .or_default()
            .insert(report.place(), report);
    }

    fn page(&mut self, read: &Read) -> Vec<DueReport> {
        let lane = self.due.entry(read.lane.clone()).or_default();
        let behind = |place: &DuePlace| read.after.is_none_or(|after| *place > after);
        let page: Vec<DueReport> = lane
            .iter()
            .filter(|(place, _)| behind(place))
            .map(|(_, report)| report.clone())
            .take(read.limit)
            .collect();
        self.rows_read += page.len();
        page
    }

    fn done(&mut self, report: &DueReport) {
        self.due.entry(report.lane()).or_default().remove(&report.place());
    }
}

#[test]
fn a_backlog_far_beyond_memory_goes_out_once_each_and_is_not_read_over_and_over() {
    let (mut lanes, now) = (lanes(), Instant::now());
    let mut books = Books::default();
    for number in 0..30_000 {
        books.add(report(1, "flood", number));
    }
    for number in 0..100 {
        books.add(report(2, &format!("h{}", number % 10), number));
    }
    for key in books.due.keys() {
        lanes.note_due(key, true, now);
    }
    let (mut under_way, mut sent) = (VecDeque::new(), HashSet::new());
    let mut others_done_after = 0;
    loop {
        while let Some(read) = lanes.next_read(now) {
            let page = books.page(&read);
            lanes.was_read(&read, page, now);
        }
        under_way.extend(start_all(&mut lanes, now));
        assert!(lanes.waiting <= 16_384 && lanes.under_way <= 1_024);
        let Some(start) = under_way.pop_front() else { break };
        let start: Start = start;
        assert!(sent.insert(start.ticket.key), "sent twice");
        if start.ticket.lane.account == account(2) {
            others_done_after = sent.len();
        }
        books.done(&start.report);
        end(&mut lanes, &start, QUICK, now);
    }
    assert_eq!(sent.len(), 30_100);
    assert!(others_done_after < 1_000, "a flood delayed others: {others_done_after}");
    assert!(
        books.rows_read < 31_000,
        "{} rows were read for 30,100 reports",
        books.rows_read
    );
}
