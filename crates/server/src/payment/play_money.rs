//! Play money: paid at once, in the sandbox only, so that a developer sees the whole way of an order without a bank.

use countersign_core::{Order, OrderNote};
use futures_util::future::BoxFuture;

use super::{Confirmation, PaymentProvider, Progress};

pub(super) const NAME: &str = "play-money";

pub(super) struct PlayMoney;

impl PaymentProvider for PlayMoney {
    fn name(&self) -> &'static str {
        NAME
    }

    fn label(&self) -> &'static str {
        "Play money"
    }

    fn hint(&self) -> &'static str {
        "Paid at once. It exists in the sandbox only."
    }

    fn confirmation(&self) -> Confirmation {
        Confirmation::ByProvider
    }

    fn begin<'a>(&'a self, _order: &'a Order) -> BoxFuture<'a, Progress> {
        Box::pin(std::future::ready(Progress::Paid(OrderNote::new("play money"))))
    }

    fn instructions<'a>(&'a self, _order: &'a Order) -> BoxFuture<'a, String> {
        let text =
            "The payment was made, and the server ended before it could book it. The operator can confirm this order.";
        Box::pin(std::future::ready(text.to_owned()))
    }
}
