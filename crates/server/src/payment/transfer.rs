//! A bank transfer, or whatever else the operator describes: the customer pays with the order's reference, the operator sees
//! the money and confirms the order.

use std::path::{Path, PathBuf};

use countersign_core::Order;
use futures_util::future::BoxFuture;
use tokio::io::AsyncReadExt as _;

use super::{Confirmation, PaymentProvider, Progress};
use crate::site::format;

pub(super) const NAME: &str = "transfer";

/// The longest instructions that are shown.
const MAX_INSTRUCTIONS_BYTES: u64 = 16 * 1024;

/// What is told where the operator set no instructions.
const DEFAULT_INSTRUCTIONS: &str = "\
Transfer **{amount}** to the operator of this server, and write the reference **{reference}** on the transfer.

1. Ask the operator for the bank account, if you don’t have it yet.
2. Transfer {amount}, with {reference} as the only reference.
3. Your credit is there as soon as the operator has seen the money and confirmed this order.
";

pub(super) struct Transfer {
    instructions_file: Option<PathBuf>,
}

impl Transfer {
    pub(super) const fn new(instructions_file: Option<PathBuf>) -> Self {
        Self { instructions_file }
    }
}

impl PaymentProvider for Transfer {
    fn name(&self) -> &'static str {
        NAME
    }

    fn label(&self) -> &'static str {
        "Bank transfer"
    }

    fn hint(&self) -> &'static str {
        "You get a reference to write on the transfer. The credit is there once the operator has seen the money."
    }

    fn confirmation(&self) -> Confirmation {
        Confirmation::ByOperator
    }

    fn begin<'a>(&'a self, _order: &'a Order) -> BoxFuture<'a, Progress> {
        Box::pin(std::future::ready(Progress::Waiting))
    }

    fn instructions<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, String> {
        Box::pin(async move {
            let text = match &self.instructions_file {
                None => DEFAULT_INSTRUCTIONS.to_owned(),
                // Read each time: what the operator changes is shown at once.
                Some(file) => read(file).await.unwrap_or_else(|error| {
                    tracing::error!(
                        file = %file.display(), %error,
                        "payment.transfer_instructions_file can't be read: customers see the default text"
                    );
                    DEFAULT_INSTRUCTIONS.to_owned()
                }),
            };
            filled_in(&text, order)
        })
    }
}

async fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = tokio::fs::File::open(file).await?;
    file.take(MAX_INSTRUCTIONS_BYTES).read_to_string(&mut text).await?;
    Ok(text)
}

/// `{reference}` and `{amount}` become the order's.
fn filled_in(text: &str, order: &Order) -> String {
    text.replace("{reference}", &order.id.to_string())
        .replace("{amount}", &format::money(order.amount))
}
