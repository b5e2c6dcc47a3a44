//! Passwords (RFC 7617): who sent a request, by a secret that people choose.
//!
//! ```text
//!   Authorization --> Credentials --known to be right--> identity
//!                         |       --known to be wrong, or the client tries too many--> refused
//!                         +--> Call: a thread beside the shards verifies --> on_reply
//! ```
//!
//! People choose badly, so a hash has to cost, and what costs must not be done where others wait for it.

pub mod config;
mod credentials;
mod hash;
mod state;

pub use self::config::Config;
pub use self::hash::{check_hash, is_right};
pub use self::state::State;

use self::credentials::{AUTHORIZATION, Credentials};
use self::state::WRONG_FOR;
use super::{
    Answer, Call, Consumers, Context, Hooks, Identity, Invalid, Login, Member, Question, Reply, Secret, Verdict,
};
use crate::http::view::{FieldName, RequestView, ResponseView};
use crate::stdx::board::client_key;
use crate::stdx::number::Bounded;
use std::rc::Rc;
use std::time::Duration;

/// The policy as it is configured, the same for all shards.
#[derive(Debug, Eq, PartialEq)]
pub struct BasicAuth {
    config: Config,
}

/// Why a request is not let in; `proxy::error` makes an answer of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// There is no `Authorization` of this scheme.
    Missing,
    /// There are two lines of it.
    Several,
    /// It is not Base64 of a user name, a colon and a password in UTF-8.
    Malformed,
    /// There is no such user, or the password is another one.
    Wrong,
    /// This client has tried too many that were not right.
    Throttled,
    /// As many passwords are being verified as may be.
    Busy,
    /// Its turn did not come, or it could not be verified.
    Late,
}

/// What is known of a request's password.
enum Decided {
    Is(Rc<Identity>),
    Ask(Call),
}

impl Member for BasicAuth {
    type Config = Config;
    const HOOKS: Hooks = Hooks::BOTH;

    fn new(config: Config) -> Result<Self, Invalid> {
        if config.consumer_header.is_the_gateways() {
            let what = format!("a `consumer_header` `{}`", config.consumer_header.text());
            return Err(Invalid::new(what, "choose a header that is not the gateway's"));
        }
        Ok(Self { config })
    }

    fn on_request<'a>(&'a self, request: &mut RequestView<'_>, context: &mut Context<'_>) -> Verdict<'a> {
        let decided = Credentials::of(request).and_then(|credentials| decide(&credentials, context));
        self.conclude(request, context, decided)
    }

    fn on_reply<'a>(&'a self, request: &mut RequestView<'_>, reply: Reply, context: &mut Context<'_>) -> Verdict<'a> {
        let decided = Credentials::of(request).and_then(|credentials| self.hear(&credentials, reply, context));
        self.conclude(request, context, decided.map(Decided::Is))
    }

    fn on_response(&self, _request: &RequestView<'_>, response: &mut ResponseView<'_>, context: &Context<'_>) {
        if context.found.refusal == Some(Refusal::Throttled.into()) {
            response.headers.set(&RETRY_AFTER, itoa::Buffer::new().format(WRONG_FOR.as_secs()).as_bytes());
        }
    }
}

impl BasicAuth {
    fn conclude<'a>(
        &'a self,
        request: &mut RequestView<'_>,
        context: &mut Context<'_>,
        decided: Result<Decided, Refusal>,
    ) -> Verdict<'a> {
        let Config { hide_password, consumer_header, .. } = &self.config;
        match decided {
            Ok(Decided::Is(identity)) => {
                if *hide_password {
                    request.headers.remove(&AUTHORIZATION);
                }
                context.found.identity = Some(identity);
                context.tell_consumer(request, consumer_header);
                Verdict::Continue
            }
            Ok(Decided::Ask(call)) => Verdict::Call(Box::new(call)),
            Err(refusal) => {
                // Somebody else may have let the request in, or may do so yet.
                context.tell_consumer(request, consumer_header);
                Verdict::Reject(refusal.into())
            }
        }
    }

    /// What was found out of a password.
    fn hear(&self, credentials: &Credentials, reply: Reply, context: &Context<'_>) -> Result<Rc<Identity>, Refusal> {
        let (now, state) = (context.now.mono, &mut context.state.borrow_mut().passwords);
        let Answer::Password { is_right } = match reply {
            Reply::Answered(answer) => answer,
            Reply::Busy => {
                state.take_back(client_key(context.client), now);
                return Err(Refusal::Busy);
            }
            // Somebody may have worked for it, and nobody can say that it was right.
            Reply::Late => return Err(Refusal::Late),
        };
        let (login, hash) = held_against(credentials, context.consumers);
        let known = state.known(credentials, hash);
        let Some(login) = login.filter(|_| is_right) else {
            state.remember_wrong(known, now);
            return Err(Refusal::Wrong);
        };
        state.take_back(client_key(context.client), now);
        let identity = Rc::new(login.consumer.identity(Some(credentials.username())));
        let until = now + Duration::from_secs(self.config.remember_s.map_or(REMEMBER_S, Bounded::get));
        state.remember_right(known, identity.clone(), context.consumers.fingerprint(), until, now);
        Ok(identity)
    }
}

/// What the shard knows of a password, or the question that has to be asked.
fn decide(credentials: &Credentials, context: &Context<'_>) -> Result<Decided, Refusal> {
    let (login, hash) = held_against(credentials, context.consumers);
    let (now, state) = (context.now.mono, &mut context.state.borrow_mut().passwords);
    let known = state.known(credentials, hash);
    if let Some(login) = login {
        let identity = || login.consumer.identity(Some(credentials.username()));
        if let Some(identity) = state.right(known, context.consumers.fingerprint(), now, identity) {
            return Ok(Decided::Is(identity));
        }
    }
    if state.was_wrong(known, now) {
        return Err(Refusal::Wrong);
    }
    let client = client_key(context.client);
    if state.is_throttled(client, now) {
        return Err(Refusal::Throttled);
    }
    state.count(client, now);
    let question = Question::Password { hash: hash.into(), password: Secret::new(credentials.password()) };
    Ok(Decided::Ask(Call { question, patience: PATIENCE }))
}

/// Whose password it would have to be, and the hash of that. An unknown user's is held against the first one's, for
/// nothing: where all hashes cost the same, how long it takes tells nobody who is a user. Where some cost more it does.
fn held_against<'c>(credentials: &Credentials, consumers: &'c Consumers) -> (Option<Login<'c>>, &'c str) {
    match consumers.login(credentials.username().as_bytes()) {
        Some(login) => (Some(login), login.hash),
        None => (None, consumers.any_hash().unwrap_or(hash::NOBODYS)),
    }
}

impl Refusal {
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "password_missing",
            Self::Several => "password_repeated",
            Self::Malformed => "password_malformed",
            Self::Wrong => "password_wrong",
            Self::Throttled => "password_throttled",
            Self::Busy => "password_busy",
            Self::Late => "password_late",
        }
    }
}

impl From<Refusal> for super::Error {
    fn from(refusal: Refusal) -> Self {
        Self::BasicAuth(refusal)
    }
}

const RETRY_AFTER: FieldName = FieldName::fixed("Retry-After");
/// How long a password that was right is known, if nobody says otherwise.
const REMEMBER_S: u64 = 300;
/// How long the turn of a password may take to come.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::super::{Declared, Password, Trial};
    use super::state::FAILURES_MAX;
    use super::*;

    /// Of "secret" and of "p:w \u{e9}", at the least cost there is.
    const HASHES: [&str; 2] = [
        "$argon2id$v=19$m=8,t=1,p=1$c2hhcmRnYXRlLXNhbHQxNg$kT6Amhi7GpkKW2dqX/aX6Lu9frrDHao18BSt2mctV5A",
        "$argon2id$v=19$m=8,t=1,p=1$c2hhcmRnYXRlLXNhbHQxNg$y0qSQV+D4PCUPo6EQpWWMYL9rn5SulZBcc2JV2k8HIg",
    ];

    fn consumers(hashes: [&str; 2]) -> Consumers {
        let password = |username: &str, hash: &str| Password { username: username.to_owned(), hash: hash.to_owned() };
        let passwords = [password("ann", hashes[0]), password("j\u{f6}rg", hashes[1])];
        let declared = [("Ann", 7, &passwords[0]), ("J", 8, &passwords[1])];
        let declared = declared.map(|(name, id, it)| Declared { id, name, passwords: vec![it], ..Declared::default() });
        Consumers::new([], &declared, None)
    }

    fn trial(config: &str) -> Trial<BasicAuth> {
        let mut trial = Trial::new(config);
        trial.consumers = consumers(HASHES);
        trial
    }

    fn head(authorization: &str) -> String {
        format!("GET / HTTP/1.1\nHost: h\nX-Consumer-Username: root\n{authorization}").trim_end_matches('\n').to_owned()
    }

    /// What a thread would find out.
    fn verify(call: &Call) -> Reply {
        call.question.answer().map_or(Reply::Late, Reply::Answered)
    }

    fn unasked(call: &Call) -> Reply {
        panic!("nobody is to be asked: {call:?}")
    }

    #[track_caller]
    fn check(authorization: &str, want: Result<&str, Refusal>) {
        let trial = trial("{}");
        let tried = trial.request_answered(&head(authorization), verify);
        let consumer = tried.identity.as_ref().and_then(|identity| identity.consumer.as_deref());
        assert_eq!((tried.refusal(), consumer), (want.err().map(Into::into), want.ok()), "{authorization}");
        let told = tried.fields().iter().any(|field| field.starts_with("X-Consumer-Username"));
        assert_eq!(told, want.is_ok(), "{authorization}");
    }

    /// `ann:secret`
    const ANN: &str = "Authorization: Basic YW5uOnNlY3JldA==";

    #[test]
    fn who_knows_the_password_is_let_in() {
        check(ANN, Ok("Ann"));
        check("authorization: bAsIc  YW5uOnNlY3JldA==", Ok("Ann"));
        check("Authorization: Basic asO2cmc6cDp3IMOp", Ok("J"));
        for wrong in ["YW5uOnNlY3JlVA==", "QW5uOnNlY3JldA==", "YW5uOg==", "YW5uOnNlY3JldDp4", "asO2cmc6cDp3IGU="] {
            check(&format!("Authorization: Basic {wrong}"), Err(Refusal::Wrong));
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        check("", Err(Refusal::Missing));
        check("Authorization: Bearer x", Err(Refusal::Missing));
        check("Authorization: BasicYW5uOnNlY3JldA==", Err(Refusal::Missing));
        check(&format!("{ANN}\n{ANN}"), Err(Refusal::Several));
        check(&format!("{ANN}\nauthorization: Bearer x"), Err(Refusal::Several));
        for malformed in [
            "",
            " ",
            "YW5uOnNlY3JldA",
            "YW5uOnNlY3JldA=",
            "YW5uOnNlY3JldB==",
            "YW5uOnNlY3JldA==, Bearer x",
            "YW5uOnNlY3Jl dA==",
            "YW5uOnNlY3JldA==YW5u",
            "YW5u",
            "OnNlY3JldA==",
            "YW5uOv8=",
            "YW5uOnNlY3JldAo=",
            "YW5uOnNl_3JldA==",
            &"YW5u".repeat(1000),
        ] {
            check(&format!("Authorization: Basic {malformed}"), Err(Refusal::Malformed));
        }
    }

    #[test]
    fn a_password_is_verified_once_until_its_time_or_its_hash_is_over() {
        let mut trial = trial("{ remember_s: 60, hide_password: true }");
        let tried = trial.request_answered(&head(ANN), verify);
        assert_eq!(tried.fields()[1..], ["X-Consumer-Username: Ann"]);
        trial.now_s = 59;
        assert!(trial.request_answered(&head(ANN), unasked).identity.is_some());
        let wrong = ANN.replace("dA==", "VA==");
        assert_eq!(trial.request_answered(&head(&wrong), verify).refusal(), Some(Refusal::Wrong.into()));
        trial.now_s = 60;
        assert!(trial.request_answered(&head(ANN), verify).identity.is_some());
        // Who is renamed stays in, under the new name; whose password is another one does not.
        let declared = |name, hash: &str| {
            let password = Password { username: "ann".to_owned(), hash: hash.to_owned() };
            Consumers::new([], &[Declared { name, passwords: vec![&password], ..Declared::default() }], None)
        };
        trial.consumers = declared("Anna", HASHES[0]);
        let renamed = trial.request_answered(&head(ANN), unasked).identity.expect("she is known");
        assert_eq!(renamed.consumer.as_deref(), Some("Anna"));
        trial.consumers = declared("Anna", HASHES[1]);
        assert_eq!(trial.request_answered(&head(ANN), verify).refusal(), Some(Refusal::Wrong.into()));
        trial.consumers = Consumers::default();
        assert_eq!(trial.request_answered(&head(ANN), verify).refusal(), Some(Refusal::Wrong.into()));
    }

    #[test]
    fn an_unknown_user_costs_what_a_known_one_does() {
        let trial = trial("{}");
        // `bob:secret`, which is right for the one whose hash it is held against.
        let tried = trial.request_answered(&head("Authorization: Basic Ym9iOnNlY3JldA=="), |call| {
            let Question::Password { hash, .. } = &call.question;
            assert_eq!(&**hash, HASHES[0]);
            verify(call)
        });
        assert_eq!(tried.refusal(), Some(Refusal::Wrong.into()));
    }

    #[test]
    fn an_unknown_user_costs_the_same_however_many_consumers_have_no_password() {
        let mut trial = trial("{}");
        let password = Password { username: "ann".to_owned(), hash: HASHES[1].to_owned() };
        let mut declared: Vec<_> = (0..1000).map(|id| Declared { id, name: "k", ..Declared::default() }).collect();
        declared.push(Declared { id: 1000, name: "Ann", passwords: vec![&password], ..Declared::default() });
        for (declared, want) in [(&declared[..], HASHES[1]), (&declared[..1000], hash::NOBODYS)] {
            trial.consumers = Consumers::new([], declared, None);
            trial.request_answered(&head("Authorization: Basic Ym9iOnNlY3JldA=="), |call| {
                let Question::Password { hash, .. } = &call.question;
                assert_eq!(&**hash, want);
                Reply::Busy
            });
        }
    }

    #[test]
    fn who_guesses_has_to_wait() {
        let mut trial = trial("{}");
        trial.request_answered(&head(ANN), verify);
        // `ann:0` and another character each.
        let guess = |number: u32| format!("Authorization: Basic YW5uOjA{}", char::from(b'g' + number as u8));
        for number in 0..FAILURES_MAX {
            let refusal = trial.request_answered(&head(&guess(number)), verify).refusal();
            assert_eq!(refusal, Some(Refusal::Wrong.into()), "{}", guess(number));
        }
        assert_eq!(trial.request_answered(&head(&guess(0)), unasked).refusal(), Some(Refusal::Wrong.into()));
        let mut refused = trial.request_answered(&head(&guess(FAILURES_MAX)), unasked);
        assert_eq!(refused.refusal(), Some(Refusal::Throttled.into()));
        assert_eq!(refused.answered(429, &[]), ["Retry-After: 10"]);
        assert!(trial.request_answered(&head(ANN), unasked).identity.is_some(), "who is known does not wait");
        trial.client = [192, 0, 2, 2].into();
        assert_eq!(trial.request_answered(&head(&guess(11)), verify).refusal(), Some(Refusal::Wrong.into()));
        trial.client = [192, 0, 2, 1].into();
        trial.now_s = WRONG_FOR.as_secs();
        assert_eq!(trial.request_answered(&head(&guess(10)), verify).refusal(), Some(Refusal::Wrong.into()));
    }

    #[test]
    fn an_answer_that_does_not_come_is_not_the_clients_fault() {
        let trial = trial("{}");
        for (reply, refusal) in [(Reply::Busy, Refusal::Busy), (Reply::Late, Refusal::Late)] {
            assert_eq!(trial.request_answered(&head(ANN), |_| reply).refusal(), Some(refusal.into()));
        }
        assert!(trial.request_answered(&head(ANN), verify).identity.is_some());
    }

    /// How many questions of one client are put in ten seconds, if each has this reply and is about another password.
    #[track_caller]
    fn check_asked(reply: Option<Reply>, want: u32) {
        let trial = trial("{ remember_s: 0 }");
        let mut asked = 0;
        for number in 0..2 * FAILURES_MAX {
            // `ann:0` and another character each; or no reply at all, as when the client is gone.
            let guess = head(&format!("Authorization: Basic YW5uOjA{}", char::from(b'g' + number as u8 % 20)));
            let tried = match reply {
                Some(reply) => trial.request_answered(&guess, |_| {
                    asked += 1;
                    reply
                }),
                None => trial.request(&guess),
            };
            asked += u32::from(tried.is_asking());
        }
        assert_eq!(asked, want, "{reply:?}");
    }

    #[test]
    fn a_password_counts_from_when_it_is_tried_until_it_was_right() {
        let answered = |is_right| Some(Reply::Answered(Answer::Password { is_right }));
        check_asked(answered(false), FAILURES_MAX);
        check_asked(Some(Reply::Late), FAILURES_MAX);
        check_asked(None, FAILURES_MAX);
        check_asked(answered(true), 2 * FAILURES_MAX);
        check_asked(Some(Reply::Busy), 2 * FAILURES_MAX);
    }

    /// Of a hash as good as the first one but for this.
    #[track_caller]
    fn check_costs(costs: &str, is_bearable: bool) {
        let checked = check_hash(&HASHES[0].replace("m=8,t=1,p=1", costs));
        assert_eq!(checked.is_ok(), is_bearable, "{costs}: {checked:?}");
        assert!(checked.err().is_none_or(|invalid| invalid.what.starts_with("costs too much: m=")), "{costs}");
    }

    #[test]
    fn a_hash_may_cost_so_much_and_no_more() {
        for costs in ["m=8,t=1,p=1", "m=19456,t=2,p=1", "m=65536,t=4,p=4", "m=8192,t=32,p=1"] {
            check_costs(costs, true);
        }
        for costs in
            ["m=65537,t=1,p=1", "m=65536,t=5,p=1", "m=1048576,t=1,p=1", "m=8,t=4294967295,p=1", "m=256,t=1,p=17"]
        {
            check_costs(costs, false);
        }
    }

    #[test]
    fn what_is_no_hash_is_refused_and_tells_nothing_of_a_password() {
        assert_eq!((is_right(HASHES[0], b"secret"), is_right(HASHES[0], b"secre")), (Some(true), Some(false)));
        assert_eq!(is_right(hash::NOBODYS, b""), Some(false));
        for hash in [
            "",
            "secret",
            "$argon2id$v=19$m=8",
            "$argon2id$x$y$z$w",
            &HASHES[0].replace("argon2id", "argon2i"),
            &HASHES[0].replace("v=19", "v=18"),
            &HASHES[0].replace("p=1", "p=2"),
            &HASHES[0].replace("p=1", "q=1"),
            &HASHES[0].replace("t=1", "t=0"),
            &HASHES[0].replace("c2hhcmRnYXRlLXNhbHQxNg", "c2hhcmQ"),
            &HASHES[0][..HASHES[0].rfind('$').unwrap_or_default()],
        ] {
            let Invalid { what, .. } = check_hash(hash).expect_err(hash);
            assert_eq!((&*what, is_right(hash, b"secret")), ("is not one of argon2id", None), "{hash}");
        }
        assert_eq!(is_right(&HASHES[0].replace("m=8", "m=300000"), b"secret"), None);
    }

    #[test]
    fn what_makes_no_sense_is_a_mistake() {
        Trial::<BasicAuth>::refused(
            "consumer_header: Host",
            "a `consumer_header` `Host`: choose a header that is not the gateway's",
        );
        Trial::<BasicAuth>::unread("remember_s: 4000", "3600");
    }
}
