//! Redirect commands of many logins.

use iscsi_proto::login::LoginStatus;
use iscsi_proto::name::IscsiName;

use super::*;
use crate::iscsi::login::{Question, SessionType, TargetQuestion};
use crate::limits::{LOGINS_MAX, REDIRECT_TIME_MIN, REDIRECTS_MAX};

/// A bench with a target that redirects by a command, and the commands that run.
struct Redirecting {
    bench: Bench,
    running: Vec<(Ticket, String)>,
    logins: u64,
}

impl Redirecting {
    fn new() -> Self {
        let mut bench = Bench::with_target();
        let (name, value) = ("RedirectCallback".to_owned(), "/bin/where".to_owned());
        bench.ask(Request::TargetUpdate { tid: tid(1), name, value });
        Self { bench, running: Vec::new(), logins: 0 }
    }

    /// A login from this address; returns its answer, if there is one already.
    fn log_in(&mut self, address: &str) -> (LoginId, Option<Answer>) {
        self.logins += 1;
        let login = LoginId(self.logins);
        let question = TargetQuestion {
            initiator_name: IscsiName::parse_any("iqn.i").unwrap(),
            initiator_alias: None,
            session_type: SessionType::Normal,
            target_name: Some(IscsiName::parse_any("iqn.x:one").unwrap()),
        };
        let (peer, local) =
            (SocketAddr::new(address.parse().unwrap(), 999), "10.0.0.1:3260".parse().unwrap());
        let (bench, question) = (&mut self.bench, Question::Target(Box::new(question)));
        let addresses = Addresses { peer, local };
        let answer = bench.control.question(login, question, addresses, bench.now, &mut bench.out);
        self.take_jobs();
        (login, answer)
    }

    fn take_jobs(&mut self) {
        for job in self.bench.out.jobs.drain(..) {
            let Job::Redirect(ticket, command) = job else { panic!("another job") };
            self.running.push((ticket, command.initiator.to_string()));
        }
    }

    /// The first command has taken its time and ends; returns the login that it was for.
    fn end_first(&mut self) -> LoginId {
        self.bench.now += REDIRECT_TIME_MIN;
        self.end_first_now()
    }

    fn end_first_now(&mut self) -> LoginId {
        let (ticket, _) = self.running.remove(0);
        let done = JobDone::Redirected(ticket, Ok("10.0.0.9:3260:Temporary".to_owned()));
        self.bench.control.job_done(done, self.bench.now, &mut self.bench.out);
        self.take_jobs();
        self.bench.out.answers.remove(0).0
    }

    fn time_passes(&mut self, time: Duration) {
        self.bench.now += time;
        self.bench.control.handle_timeout(self.bench.now, &mut self.bench.out);
        self.take_jobs();
    }

    fn running(&self) -> Vec<&str> {
        self.running.iter().map(|(_, address)| address.as_str()).collect()
    }
}

#[test]
fn few_commands_run_and_one_of_each_address() {
    let mut redirecting = Redirecting::new();
    for address in ["10.0.0.5", "10.0.0.5", "::ffff:10.0.0.5", "2001:db8::1", "2001:db8::2"] {
        assert!(redirecting.log_in(address).1.is_none());
    }
    assert_eq!(redirecting.running(), ["10.0.0.5", "2001:db8::1"]);
    for address in ["10.0.0.6", "10.0.0.7", "10.0.0.8"] {
        assert!(redirecting.log_in(address).1.is_none());
    }
    assert_eq!(redirecting.running(), ["10.0.0.5", "2001:db8::1", "10.0.0.6", "10.0.0.7"]);
    assert_eq!(redirecting.running.len(), REDIRECTS_MAX);
    // The next one of the same address comes first: it has waited longer than the one of 10.0.0.8.
    assert_eq!(redirecting.end_first(), LoginId(1));
    assert_eq!(redirecting.running(), ["2001:db8::1", "10.0.0.6", "10.0.0.7", "10.0.0.5"]);
    let ended: Vec<_> = (0..7).map(|_| redirecting.end_first()).collect();
    assert_eq!(ended, [4, 6, 7, 2, 5, 8, 3].map(LoginId), "every login is answered");
    assert!(redirecting.running.is_empty() && redirecting.bench.control.pending.works().count() == 0);
}

#[test]
fn commands_that_end_at_once_are_not_started_one_after_the_other() {
    let mut redirecting = Redirecting::new();
    for address in ["10.0.0.5", "10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8", "10.0.0.9"] {
        assert!(redirecting.log_in(address).1.is_none());
    }
    let begun = redirecting.bench.now;
    for _ in 0..REDIRECTS_MAX {
        redirecting.end_first_now();
    }
    assert!(redirecting.running.is_empty());
    assert!(redirecting.log_in("10.0.0.10").1.is_none() && redirecting.running.is_empty());
    assert_eq!(redirecting.bench.control.next_deadline(), Some(begun + REDIRECT_TIME_MIN));
    redirecting.time_passes(REDIRECT_TIME_MIN - Duration::from_millis(1));
    assert!(redirecting.running.is_empty());
    redirecting.time_passes(Duration::from_millis(1));
    assert_eq!(redirecting.running(), ["10.0.0.5", "10.0.0.9", "10.0.0.10"]);
}

#[test]
fn commands_of_logins_that_ended_do_not_run() {
    let mut redirecting = Redirecting::new();
    redirecting.log_in("10.0.0.5");
    for _ in 1..=LOGINS_MAX {
        assert!(redirecting.log_in("10.0.0.5").1.is_none());
    }
    let (_, answer) = redirecting.log_in("10.0.0.5");
    let Some(Answer::Refuse(refusal)) = answer else { panic!("{answer:?}") };
    assert_eq!(refusal.status, LoginStatus::ServiceUnavailable);
    // All but the last one give up.
    redirecting.bench.out.ended_logins = (2..=LOGINS_MAX as u64).map(LoginId).collect();
    assert!(redirecting.log_in("10.0.0.5").1.is_none(), "there is room again");
    let last = LoginId(LOGINS_MAX as u64 + 1);
    let newest = LoginId(redirecting.logins);
    assert_eq!([(); 3].map(|()| redirecting.end_first()), [LoginId(1), last, newest]);
    assert!(redirecting.running.is_empty());
}
