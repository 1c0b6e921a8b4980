//! What a message centre's `command_status` means: its name and words for people, and what follows from it for a message.

use rusmpp_core::CommandStatus;

/// What follows from the answer to a submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It was taken.
    Accepted,
    /// Not now, later.
    Throttled,
    /// The session isn't bound, as the message centre sees it.
    NotBound,
    /// The number can't be reached.
    BadNumber,
    /// The message centre is ailing.
    Trouble,
    /// It refuses this message.
    Refused,
}

/// Judges the answer to a submit.
pub(super) fn judge(status: CommandStatus) -> Judgement {
    use CommandStatus as S;
    match status {
        S::EsmeRok => Judgement::Accepted,
        S::EsmeRthrottled | S::EsmeRmsgqful => Judgement::Throttled,
        S::EsmeRinvbndsts => Judgement::NotBound,
        S::EsmeRinvdstadr | S::EsmeRinvdstaddrsubunit => Judgement::BadNumber,
        S::EsmeRsyserr | S::EsmeRxTAppn | S::EsmeRunknownerr => Judgement::Trouble,
        _ => Judgement::Refused,
    }
}

/// The status's name with its number, as operators of message centres know it: `ESME_RINVDSTADR (0x0B)`.
pub(super) fn name(status: CommandStatus) -> String {
    let number = u32::from(status);
    if matches!(status, CommandStatus::Other(_)) {
        return format!("error 0x{number:X}, which is the message centre’s own");
    }
    let variant = format!("{status:?}").to_ascii_uppercase();
    let name = variant.strip_prefix("ESME").unwrap_or(&variant);
    format!("ESME_{name} (0x{number:02X})")
}

/// What it says, in words; empty where the name must do.
pub(super) fn words(status: CommandStatus) -> &'static str {
    use CommandStatus as S;
    match status {
        S::EsmeRinvmsglen => "the text is too long",
        S::EsmeRinvbndsts => "not allowed in a session of this kind",
        S::EsmeRalybnd => "already bound",
        S::EsmeRsyserr => "the message centre has a failure",
        S::EsmeRinvsrcadr => "the source address is not allowed",
        S::EsmeRinvdstadr => "the number is not valid there",
        S::EsmeRbindfail => "the bind failed",
        S::EsmeRinvpaswd => "wrong password",
        S::EsmeRinvsysid => "unknown system_id",
        S::EsmeRmsgqful => "its queue is full",
        S::EsmeRinvsertyp => "unknown service type",
        S::EsmeRsubmitfail => "the submit failed",
        S::EsmeRinvsrcton | S::EsmeRinvsrcnpi => "the source address’s ton or npi is wrong",
        S::EsmeRinvdstton | S::EsmeRinvdstnpi => "the destination’s ton or npi is wrong",
        S::EsmeRinvsystyp => "unknown system_type",
        S::EsmeRthrottled => "too many messages a second",
        S::EsmeRinvexpiry => "the validity period is not allowed",
        S::EsmeRprohibited => "not allowed",
        _ => "",
    }
}

/// Name and words: `ESME_RINVDSTADR (0x0B): the number is not valid there`.
pub(super) fn describe(status: CommandStatus) -> String {
    match words(status) {
        "" => name(status),
        words => format!("{}: {words}", name(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_named_as_the_protocol_names_it() {
        assert_eq!(name(CommandStatus::EsmeRinvdstadr), "ESME_RINVDSTADR (0x0B)");
        assert_eq!(
            describe(CommandStatus::EsmeRthrottled),
            "ESME_RTHROTTLED (0x58): too many messages a second"
        );
        assert!(describe(CommandStatus::from(0x0000_0410)).contains("0x410"));
    }

    #[test]
    fn only_a_full_queue_and_throttling_ask_to_come_again() {
        let again: Vec<_> = (0..0x200)
            .map(CommandStatus::from)
            .filter(|status| judge(*status) == Judgement::Throttled)
            .map(u32::from)
            .collect();
        assert_eq!(again, [0x14, 0x58]);
        assert_eq!(judge(CommandStatus::EsmeRinvdstadr), Judgement::BadNumber);
        assert_eq!(judge(CommandStatus::EsmeRinvsrcadr), Judgement::Refused);
        assert_eq!(judge(CommandStatus::EsmeRsyserr), Judgement::Trouble);
    }
}
