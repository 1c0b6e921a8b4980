//! How orders of credit are paid. A provider is one file: it names itself, tells the customer what to do, and says when it
//! hears of the payment. It knows neither books nor balances: `orders` confirms what it says is paid.
//!
//! To add one: implement [`PaymentProvider`], and name it in [`providers`]. A provider whose news come later (a card
//! company's webhook) keeps the order's reference, answers [`Progress::Waiting`], and calls `orders::confirm` as
//! `OrderParty::Provider` when the news come: confirming is safe to repeat, so a webhook may come twice.

mod play_money;
mod transfer;

use countersign_core::{Order, OrderNote, OrderState, ProviderName};
use futures_util::future::BoxFuture;
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use crate::app::{App, Mode};

/// The name of the bank transfer, which every server has.
pub(crate) const TRANSFER: &str = transfer::NAME;

/// How it is learned that an order was paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Confirmation {
    /// The operator sees the payment and confirms the order by hand.
    ByOperator,
    /// The provider says so by itself.
    ByProvider,
}

/// How far a payment is when its order was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The customer, or the provider, must do something first.
    Waiting,
    /// It is paid already, with what is noted of that.
    Paid(Option<OrderNote>),
}

/// A way to pay.
pub(crate) trait PaymentProvider: Send + Sync {
    /// Its name in the books and in the APIs: lower-case letters, digits and dashes. It never changes.
    fn name(&self) -> &'static str;
    /// What a customer calls it.
    fn label(&self) -> &'static str;
    /// A sentence that helps to choose it.
    fn hint(&self) -> &'static str;
    /// How its payments become known.
    fn confirmation(&self) -> Confirmation;
    /// Told once of each order that is to be paid this way, after it stands in the books.
    fn begin<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Progress>;
    /// What the customer of an open order is told to do, as Markdown.
    fn instructions<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, String>;

    /// Its name as the books take it.
    fn provider_name(&self) -> ProviderName {
        // A test sees to it that every name fits.
        ProviderName::from_stored(self.name().to_owned())
    }
}

/// The ways to pay that this server has, the most usual first.
pub(crate) fn providers(app: &App) -> Vec<Box<dyn PaymentProvider>> {
    let mut providers: Vec<Box<dyn PaymentProvider>> = vec![Box::new(transfer::Transfer::new(
        app.settings.payment.transfer_instructions_file.clone(),
    ))];
    if app.mode == Mode::Sandbox {
        providers.push(Box::new(play_money::PlayMoney));
    }
    providers
}

/// The way to pay of that name.
pub(crate) fn provider(app: &App, name: &str) -> Option<Box<dyn PaymentProvider>> {
    providers(app).into_iter().find(|provider| provider.name() == name)
}

/// What a customer calls an order's way to pay; its name where this server has it no more.
pub(crate) fn label(app: &App, name: &ProviderName) -> String {
    provider(app, name.as_str()).map_or_else(|| name.as_str().to_owned(), |provider| provider.label().to_owned())
}

/// What the customer of an order is told to do; `None` where nothing is left to do.
pub(crate) async fn instructions(app: &App, order: &Order) -> Option<String> {
    if order.state != OrderState::Open {
        return None;
    }
    let provider = provider(app, order.provider.as_str())?;
    Some(provider.instructions(order).await)
}

/// Instructions as a page shows them. HTML in the operator's text is text, and its headings come below the page's own.
pub(crate) fn html_of(markdown: &str) -> String {
    let below = |level: HeadingLevel| match level {
        HeadingLevel::H1 | HeadingLevel::H2 => HeadingLevel::H3,
        _ => HeadingLevel::H4,
    };
    let events = Parser::new_ext(markdown, Options::ENABLE_TABLES).map(|event| match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::Start(Tag::Heading { level, .. }) => Event::Start(Tag::Heading {
            level: below(level),
            id: None,
            classes: Vec::new(),
            attrs: Vec::new(),
        }),
        Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(below(level))),
        event => event,
    });
    let mut text = String::new();
    html::push_html(&mut text, events);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_in_instructions_is_text_and_headings_are_the_pages_third_level() {
        let html = html_of("# Pay\n\n<script>alert(1)</script>\n\n**now**");
        assert!(
            html.contains("<h3>Pay</h3>") && html.contains("&lt;script&gt;"),
            "{html}"
        );
        assert!(html.contains("<strong>now</strong>"), "{html}");
    }

    #[test]
    fn every_provider_has_a_name_that_the_books_take() {
        for name in [transfer::NAME, play_money::NAME] {
            assert_eq!(ProviderName::parse(name).unwrap().as_str(), name);
        }
    }
}
