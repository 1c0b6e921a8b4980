//! Which route a message takes: the one that says most about it. An account's own route comes before one by number, the
//! longest prefix before shorter ones, and one for this kind of message before one for all.

use countersign_core::{AccountId, NumberPrefix, PhoneNumber, RouteName};

use super::{Question, Routes};
use crate::settings::{MessageKind, RouteSettings};

/// How much a route says of a message; the greatest wins.
type Fit = (bool, Option<u64>, bool);

impl Routes {
    /// The name of a message's route; `None` where it takes none.
    pub(crate) fn name_of(&self, question: &Question) -> Option<RouteName> {
        let phone = question.to.phone;
        if phone.is_sandbox() {
            return None;
        }
        let route = self.route_of(Some(question.sending.account.id), phone, question.kind);
        route.map(|route| route.name.clone())
    }

    /// The route of a message; `None` where no route is for it.
    pub(super) fn route_of(
        &self,
        account: Option<AccountId>,
        phone: PhoneNumber,
        kind: MessageKind,
    ) -> Option<&RouteSettings> {
        let fitting = self
            .all
            .iter()
            .filter_map(|route| Some((fit(route, account, phone, kind)?, route)));
        fitting.max_by_key(|(fit, _)| *fit).map(|(_, route)| route)
    }
}

fn fit(route: &RouteSettings, account: Option<AccountId>, phone: PhoneNumber, kind: MessageKind) -> Option<Fit> {
    let own = account.is_some_and(|account| route.accounts.contains(&account));
    let longest = route
        .prefixes
        .iter()
        .filter(|prefix| prefix.matches(phone))
        .map(|prefix: &NumberPrefix| prefix.digits())
        .max();
    let this_kind = route.kinds.contains(&kind);
    let fits = (own || route.accounts.is_empty())
        && (longest.is_some() || route.prefixes.is_empty())
        && (this_kind || route.kinds.is_empty());
    fits.then_some((own, longest, this_kind))
}

#[cfg(test)]
mod tests {
    use countersign_core::SandboxNumbers;

    use super::*;

    fn route(name: &str, accounts: &[i64], prefixes: &[&str], kinds: &[MessageKind]) -> RouteSettings {
        RouteSettings {
            name: RouteName::parse(name).unwrap(),
            legs: Vec::new(),
            accounts: accounts.iter().map(|&id| AccountId::new(id).unwrap()).collect(),
            prefixes: prefixes.iter().map(|text| NumberPrefix::parse(text).unwrap()).collect(),
            kinds: kinds.to_vec(),
        }
    }

    #[test]
    fn the_route_that_says_most_of_a_message_is_taken() {
        let routes = vec![
            route("main", &[], &[], &[]),
            route("italy", &[], &["+39"], &[]),
            route("milan", &[], &["+3902"], &[]),
            route("acme", &[7], &[], &[]),
            route("sign-in", &[], &[], &[MessageKind::Login]),
        ];
        let routes = Routes {
            all: routes,
            legs: std::collections::BTreeMap::new(),
            inbox: false,
            ask_timeout: std::time::Duration::ZERO,
            own_number_paid_legs: false,
            quotas: crate::quotas::Quotas::new(&crate::settings::QuotaSettings::default()),
        };
        let chosen = |account: i64, phone: &str, kind| {
            let phone = PhoneNumber::parse(phone, SandboxNumbers::Refused).unwrap();
            routes
                .route_of(AccountId::new(account), phone, kind)
                .unwrap()
                .name
                .as_str()
                .to_owned()
        };
        assert_eq!(chosen(1, "+447400123456", MessageKind::Code), "main");
        assert_eq!(chosen(1, "+393471234567", MessageKind::Code), "italy");
        assert_eq!(chosen(1, "+390212345678", MessageKind::Code), "milan");
        assert_eq!(chosen(7, "+390212345678", MessageKind::Code), "acme");
        assert_eq!(chosen(1, "+447400123456", MessageKind::Login), "sign-in");
        assert_eq!(chosen(1, "+390212345678", MessageKind::Login), "milan");
    }
}
