//! What a path and an HTTP method ask for. Any other combination is `UNKNOWN_METHOD`, with status 200 like every answer
//! of a method: the contract keeps other statuses for what is not about the call itself.

use super::methods::Method;
use crate::app::Mode;

/// What can be asked at the root of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// One of the Gateway methods, by GET or POST.
    Method(Method),
    /// The sandbox's clock, by POST, in the sandbox only.
    SandboxClock,
    /// Whether the process lives, by GET or HEAD.
    Alive,
    /// Whether the server takes work, by GET or HEAD.
    Ready,
}

impl Endpoint {
    /// Reads a request line. Leading, trailing and repeated slashes count for nothing: a widely copied client sends
    /// `//sendVerificationMessage`.
    pub(super) fn of(http_method: &http::Method, path: &str, mode: Mode) -> Option<Self> {
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        let (name, rest) = (segments.next()?, segments.next());
        let get = http_method == http::Method::GET;
        let post = http_method == http::Method::POST;
        match rest {
            None if get || post => match Method::named(name) {
                Some(method) => Some(Self::Method(method)),
                None => Self::probe(name).filter(|_| get),
            },
            None => Self::probe(name).filter(|_| http_method == http::Method::HEAD),
            Some(rest) => {
                let clock = name.eq_ignore_ascii_case("sandbox") && rest.eq_ignore_ascii_case("clock");
                let asked = clock && segments.next().is_none() && post && mode == Mode::Sandbox;
                asked.then_some(Self::SandboxClock)
            }
        }
    }

    /// What supervisors and load balancers ask.
    fn probe(name: &str) -> Option<Self> {
        match name {
            "healthz" => Some(Self::Alive),
            "readyz" => Some(Self::Ready),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method as Http;

    use super::*;

    fn sandbox(method: &Http, path: &str) -> Option<Endpoint> {
        Endpoint::of(method, path, Mode::Sandbox)
    }

    #[test]
    fn method_names_are_known_in_any_case_and_behind_any_slashes() {
        for path in [
            "/sendVerificationMessage",
            "//sendVerificationMessage",
            "/SENDVERIFICATIONMESSAGE/",
            "///sendverificationmessage",
        ] {
            for method in [Http::GET, Http::POST] {
                assert_eq!(sandbox(&method, path), Some(Endpoint::Method(Method::Send)), "{path}");
            }
        }
        for path in [
            "/",
            "/sendVerificationMessag",
            "/x/sendVerificationMessage",
            "/checkSendAbility/x",
        ] {
            assert_eq!(sandbox(&Http::POST, path), None, "{path}");
        }
    }

    #[test]
    fn other_http_methods_ask_for_nothing() {
        for method in [Http::HEAD, Http::PUT, Http::DELETE, Http::PATCH, Http::OPTIONS] {
            assert_eq!(sandbox(&method, "/checkSendAbility"), None);
        }
    }

    #[test]
    fn the_clock_exists_in_the_sandbox_only() {
        assert_eq!(sandbox(&Http::POST, "//sandbox//clock"), Some(Endpoint::SandboxClock));
        assert_eq!(sandbox(&Http::GET, "/sandbox/clock"), None);
        assert_eq!(sandbox(&Http::POST, "/sandbox/clock/x"), None);
        assert_eq!(Endpoint::of(&Http::POST, "/sandbox/clock", Mode::Production), None);
    }

    #[test]
    fn probes_are_asked_by_get_or_head() {
        for (path, probe) in [("/healthz", Endpoint::Alive), ("/readyz", Endpoint::Ready)] {
            assert_eq!(sandbox(&Http::GET, path), Some(probe));
            assert_eq!(sandbox(&Http::HEAD, path), Some(probe));
            assert_eq!(sandbox(&Http::POST, path), None);
        }
    }
}
