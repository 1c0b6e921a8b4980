//! One live code: which message was sent last to a number as a sender, and what becomes of the one before it.

use countersign_core::{
    Action, Decision, DeliveryState, PhoneNumber, Reach, SenderUsername, TokenKind, VerificationRequest,
};

use crate::books::{Books, Submitted};

/// The account's number, to whom, as whom, and whether it is a test.
pub(crate) type LiveKey = (usize, PhoneNumber, Option<SenderUsername>, bool);

impl Books {
    /// The message that was sent last with the same key as the one that a command would send.
    pub(crate) fn earlier(&self, submitted: &Submitted) -> Option<usize> {
        self.rules.one_live_code?;
        let key = match &submitted.command.action {
            Action::Send(send) => {
                let is_test = submitted.command.token?.kind == TokenKind::Test;
                (submitted.account, send.phone, send.sender.clone(), is_test)
            }
            Action::Settle { .. } => key_of(submitted.account, &self.requests[submitted.request?].request)?,
            _ => return None,
        };
        self.live.get(&key).copied()
    }

    /// Notes what was sent, and takes in what ended for it. Called before the rest of the decision is taken in.
    pub(crate) fn note_codes(&mut self, submitted: &Submitted, decision: &mut Decision) {
        if let (Some(ended), Some(index)) = (decision.ended.take(), self.earlier(submitted)) {
            let book = &mut self.requests[index];
            book.request = ended.request;
            book.timeline.extend(ended.timeline);
            book.reports.extend(ended.reports);
        }
        let Some(changed) = decision.request.as_ref().filter(|_| self.rules.one_live_code.is_some()) else {
            return;
        };
        let index = submitted.request.unwrap_or(self.requests.len());
        let was_sent = submitted
            .request
            .is_some_and(|index| self.requests[index].request.delivery == DeliveryState::Sent);
        if changed.delivery == DeliveryState::Sent
            && !was_sent
            && let Some(key) = key_of(submitted.account, changed)
        {
            self.live.insert(key, index);
        }
    }
}

fn key_of(account: usize, request: &VerificationRequest) -> Option<LiveKey> {
    let sender = request.message.as_ref()?.sender.clone();
    Some((account, request.phone, sender, request.test))
}

/// Whether a call's reachability is asked of the network first.
pub fn must_ask(action: &Action) -> bool {
    match action {
        Action::Send(send) => send.reach == Reach::MustAsk && send.request.is_none(),
        Action::CheckAbility { reach, .. } => *reach == Reach::MustAsk,
        _ => false,
    }
}
