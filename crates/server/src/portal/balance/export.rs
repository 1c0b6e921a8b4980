//! Entries as a file to download: CSV or JSON, written page by page while it is read, so that millions of entries take the
//! memory of a thousand. Columns and their order are those of `countersign statement`.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, Response as HttpResponse};
use axum::response::Response;
use countersign_core::{AccountKey, Credits, LedgerEntry, Timestamp};
use countersign_store::{HistoryFilter, StoreError};
use futures_util::stream;

use crate::app::App;
use crate::site::page::PageError;

/// Entries that are read and written at once.
const PAGE: usize = 1_000;

/// The head of every CSV.
pub(super) const CSV_HEAD: &str = "number,booked_at,kind,amount,balance_after,request_id,reason\n";

/// The answer that a browser saves under a name.
pub(super) fn download(kind: &'static str, name: &str, body: Body) -> Result<Response, PageError> {
    let mut response = HttpResponse::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let disposition = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
    headers.insert(CONTENT_DISPOSITION, disposition.map_err(|_| PageError::Internal)?);
    Ok(response)
}

/// One entry as a line of CSV.
pub(super) fn csv_line(text: &mut String, entry: &LedgerEntry) {
    // `write!` to a string can't fail.
    let _ = write!(
        text,
        "{},{},{},{},{},",
        entry.number,
        entry.at.rfc_3339(),
        entry.kind.name(),
        entry.amount,
        entry.balance_after
    );
    if let Some(request) = entry.request {
        let _ = write!(text, "{request}");
    }
    text.push(',');
    if let Some(reason) = &entry.reason {
        push_text(text, reason.as_str());
    }
    text.push('\n');
}

/// A balance as a line of its own kind, so that columns stay columns.
pub(super) fn csv_balance(text: &mut String, kind: &str, at: Timestamp, balance: Credits) {
    let _ = writeln!(text, ",{},{kind},,{balance},,", at.rfc_3339());
}

/// Text that may hold anything: quoted, and marked as text where a spreadsheet would take it for a formula.
fn push_text(text: &mut String, value: &str) {
    text.push('"');
    if value.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        text.push('\'');
    }
    text.push_str(&value.replace('"', "\"\""));
    text.push('"');
}

/// The filtered history, the newest entry first.
pub(super) fn history(app: Arc<App>, account: AccountKey, filter: HistoryFilter) -> Body {
    // What is left to do: the head, then page after page.
    enum Next {
        Head,
        Page(Option<u64>),
        End,
    }
    Body::from_stream(stream::unfold(Next::Head, move |next| {
        let app = Arc::clone(&app);
        async move {
            let before = match next {
                Next::Head => return Some((Ok(Bytes::from_static(CSV_HEAD.as_bytes())), Next::Page(None))),
                Next::Page(before) => before,
                Next::End => return None,
            };
            let page = match app.site.history(account, filter, before, PAGE).await {
                Ok(page) => page,
                Err(error) => return Some((Err(cut_off(&error)), Next::End)),
            };
            let mut text = String::new();
            for entry in &page.entries {
                csv_line(&mut text, entry);
            }
            let next = page.next.map_or(Next::End, |before| Next::Page(Some(before)));
            Some((Ok(Bytes::from(text)), next))
        }
    }))
}

/// How the entries of a statement are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Json,
}

/// What a statement is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) account: AccountKey,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

/// A statement's entries, the oldest first, between its balances.
pub(super) fn statement(app: Arc<App>, span: Span, format: Format) -> Body {
    struct State {
        after: Option<u64>,
        begun: bool,
        ended: bool,
    }
    let state = State {
        after: None,
        begun: false,
        ended: false,
    };
    Body::from_stream(stream::unfold(state, move |state| {
        let app = Arc::clone(&app);
        async move {
            if state.ended {
                return None;
            }
            let read = app
                .store
                .statement(span.account, span.from, span.to, state.after, PAGE)
                .await;
            let page = match read {
                Ok(page) => page,
                Err(error) => return Some((Err(cut_off(&error)), State { ended: true, ..state })),
            };
            let after = page.entries.last().map(|entry| entry.number).or(state.after);
            let ended = page
                .last_entry
                .is_none_or(|last| after.is_some_and(|after| after >= last));
            let mut text = String::new();
            let (opening, closing) = (page.opening_balance, page.closing_balance);
            match format {
                Format::Csv => {
                    if !state.begun {
                        text.push_str(CSV_HEAD);
                        csv_balance(&mut text, "opening_balance", span.from, opening);
                    }
                    for entry in &page.entries {
                        csv_line(&mut text, entry);
                    }
                    if ended {
                        csv_balance(&mut text, "closing_balance", span.to, closing);
                    }
                }
                Format::Json => {
                    if !state.begun {
                        let _ = write!(
                            text,
                            "{{\"account_id\":\"{}\",\"from\":{},\"to\":{},\"opening_balance\":{opening},\
                             \"closing_balance\":{closing},\"entries\":[",
                            span.account.id,
                            span.from.unix_seconds(),
                            span.to.unix_seconds()
                        );
                    }
                    for (place, entry) in page.entries.into_iter().enumerate() {
                        if state.begun || place > 0 {
                            text.push(',');
                        }
                        text.push_str(&crate::statement::entry_json(entry));
                    }
                    if ended {
                        text.push_str("]}\n");
                    }
                }
            }
            let next = State {
                after,
                begun: true,
                ended,
            };
            Some((Ok(Bytes::from(text)), next))
        }
    }))
}

/// A download that can't go on breaks off, so that nobody takes a part for the whole.
fn cut_off(error: &StoreError) -> io::Error {
    tracing::error!(%error, "a download of entries breaks off");
    io::Error::other(error.to_string())
}

#[cfg(test)]
mod tests {
    use countersign_core::{AccountId, AdjustmentReason, Bucket, EntryHash, EntryKind};

    use super::*;

    #[test]
    fn text_is_quoted_and_never_a_formula() {
        let mut entry = LedgerEntry {
            account: AccountKey {
                bucket: Bucket(1),
                id: AccountId::new(1).unwrap(),
            },
            number: 7,
            kind: EntryKind::Adjustment,
            amount: Credits::from_micros(-2_500_000),
            balance_after: Credits::from_micros(10_000),
            request: None,
            reason: AdjustmentReason::new("=HYPERLINK(\"x\"), twice"),
            at: Timestamp::from_millis(1_790_000_000_000),
            previous: EntryHash::NONE,
        };
        let mut text = String::new();
        csv_line(&mut text, &entry);
        let at = entry.at.rfc_3339();
        assert_eq!(
            text,
            format!("7,{at},adjustment,-2.5,0.01,,\"'=HYPERLINK(\"\"x\"\"), twice\"\n")
        );
        entry.reason = AdjustmentReason::new("plain");
        text.clear();
        csv_line(&mut text, &entry);
        assert!(text.ends_with(",,\"plain\"\n"), "{text}");
    }
}
