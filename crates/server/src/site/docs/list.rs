//! The documentation's pages in their order, with the Markdown that they are made of, which is part of the binary. Every file
//! of `docs/` is one of them.

/// A page of the documentation.
pub(super) struct Source {
    /// What stands behind `/docs/`; the file's name without `.md`.
    pub(super) slug: &'static str,
    /// As the navigation names it.
    pub(super) label: &'static str,
    /// One sentence, for the list of pages and for search engines.
    pub(super) about: &'static str,
    pub(super) markdown: &'static str,
}

/// Pages that belong together.
pub(super) struct Group {
    pub(super) label: &'static str,
    pub(super) pages: &'static [Source],
}

macro_rules! page {
    ($slug:literal, $label:literal, $about:literal) => {
        Source {
            slug: $slug,
            label: $label,
            about: $about,
            markdown: include_str!(concat!("../../../../../docs/", $slug, ".md")),
        }
    };
}

/// All pages.
pub(super) static GROUPS: [Group; 4] = [
    Group {
        label: "Start",
        pages: &[
            page!(
                "quick-start",
                "Quick start",
                "Verify a phone number in five minutes: curl, Python, Node, PHP, Go or Rust."
            ),
            page!(
                "sandbox",
                "Sandbox",
                "Numbers that follow a script, a clock that you move, and stand-ins for Telegram's host."
            ),
            page!(
                "ci",
                "Tests and CI",
                "A sandbox for your own project's tests: start, wait, numbers, clock; with pytest, Jest and Rust."
            ),
            page!(
                "inbox",
                "Inbox",
                "The phone of everyone you send to, in the browser and for scripts."
            ),
            page!(
                "migration",
                "Migration",
                "From the Telegram Gateway: change the host name. Every difference, in one list."
            ),
        ],
    },
    Group {
        label: "Reference",
        pages: &[
            page!(
                "api",
                "API",
                "The methods: parameters, answers, filled-in examples, money, idempotency, limits."
            ),
            page!(
                "tokens",
                "Tokens",
                "Live and test-mode tokens: what they look like, rotation with a grace, addresses that may call."
            ),
            page!(
                "delivery-reports",
                "Delivery reports",
                "What is sent to your server when a state changes, and how to know that it is genuine."
            ),
            page!(
                "errors",
                "Errors",
                "Every error, when it comes, and what to do about it."
            ),
            page!(
                "money",
                "Money",
                "Prices, prepaid credit, statements, and the proof that no entry was changed."
            ),
            page!(
                "senders",
                "Senders",
                "The name above a code: how it looks, and the way to its verified mark."
            ),
            page!(
                "statistics",
                "Statistics",
                "What each figure means, how exact it is, and how to take it along."
            ),
            page!("cli", "Command line", "Every command of countersign."),
            page!(
                "management-api",
                "Owner and operator API",
                "JSON over HTTP for an account's owner and for the operator: accounts, orders, reports, prices, backups."
            ),
        ],
    },
    Group {
        label: "Channels",
        pages: &[
            page!(
                "channels",
                "Channels",
                "Ways to reach people: Telegram, SMS, WhatsApp, e-mail, a transport of your own; how to try them."
            ),
            page!(
                "routes",
                "Routes",
                "Which legs a message takes, in which order, for how long, and how to see why."
            ),
            page!(
                "texts",
                "Texts and languages",
                "Which language a recipient reads, how long short messages get, and how to add a language or change words."
            ),
            page!(
                "channel-telegram-bot",
                "Telegram bot channel",
                "Codes from a bot of your own, to everybody who shared their number with it."
            ),
            page!(
                "channel-telegram-gateway",
                "Telegram Gateway channel",
                "Telegram's own Gateway, or another Countersign, as upstream for numbers that never opted in."
            ),
            page!(
                "channel-smpp",
                "SMS over SMPP",
                "What to ask a provider for, the settings, what delivered means there, STOP and START."
            ),
            page!(
                "channel-sms-http",
                "SMS over HTTP",
                "Twilio, or any other provider by a template: what to sign up for, the settings, what answers mean."
            ),
            page!(
                "channel-whatsapp",
                "WhatsApp channel",
                "The Cloud API: the template, webhooks, the settings, what people can answer, and Meta's errors."
            ),
            page!(
                "channel-email",
                "E-mail channel",
                "SMTP: the settings, delivery reports, what people see and can answer, and what a mail server's replies mean."
            ),
            page!(
                "channel-webhook",
                "Webhook channel",
                "A transport of your own: signed calls, what you answer, and what you post back."
            ),
        ],
    },
    Group {
        label: "Operate",
        pages: &[
            page!(
                "self-hosting",
                "Running your own",
                "Settings, keys, TLS, backups, audits, and what happens when a disk is full."
            ),
            page!(
                "packages",
                "Packages",
                "The Debian package, the container, the bare program: what each brings, and what an upgrade and a purge do."
            ),
            page!(
                "observability",
                "Observability",
                "Probes, the id of a call, a log in which no secret stands, and metrics for Prometheus."
            ),
            page!(
                "postgresql",
                "PostgreSQL and several nodes",
                "Setting it up, nodes, the move from SQLite, failover, what to watch, and how much it carries."
            ),
            page!(
                "guard",
                "Guard",
                "Countries and prefixes of an account, ranges that get no text, and pumping: what is refused, and why."
            ),
            page!(
                "limits",
                "Limits",
                "How much may be sent, what is told to whoever comes too often, and how exactly it is counted."
            ),
            page!(
                "privacy",
                "Privacy",
                "What is kept of the people that are written to, where, and for how long."
            ),
            page!(
                "threat-model",
                "Threat model",
                "What could go wrong, room by room, and where it is answered."
            ),
            page!(
                "benchmarks",
                "Benchmarks",
                "What is measured, how, and how to measure it yourself."
            ),
        ],
    },
];

/// All pages in a row.
pub(super) fn pages() -> impl Iterator<Item = &'static Source> {
    GROUPS.iter().flat_map(|group| group.pages)
}
