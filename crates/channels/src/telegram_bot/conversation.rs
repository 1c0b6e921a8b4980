//! What recipients say to the bot, and what follows from it: opting in and out, "It wasn't me", answers to sign-ins, blocking.
//!
//! Each update may come twice, and they may come out of order: what a recipient said is dated by Telegram, and an older word
//! never undoes a later one. Where the books can't be asked, handling fails as a whole, and Telegram tells it again.

use countersign_core::{Locale, News, PhoneNumber, SandboxNumbers, Timestamp};
use frankenstein::methods::{AnswerCallbackQueryParams, SendMessageParams};
use serde_json::Value;

use super::TelegramBot;
use super::buttons::Button;
use super::texts;
use super::updates::{CallbackQuery, Contact, Message, MyChatMember, Update};
use crate::{ChannelNews, Language, LoginReply, MessageKey, PortError, Recipient};

impl TelegramBot {
    /// Handles one update. What isn't for us, or makes no sense, is passed over.
    pub(super) async fn handle(&self, update: Value) -> Result<(), PortError> {
        match serde_json::from_value::<Update>(update) {
            Ok(Update {
                message: Some(message), ..
            }) => self.hear(message).await,
            Ok(Update {
                callback_query: Some(query),
                ..
            }) => self.press(query).await,
            Ok(Update {
                my_chat_member: Some(change),
                ..
            }) => self.notice_membership(change).await,
            Ok(_) => Ok(()),
            Err(error) => {
                // The error names the field; the update itself may hold a number.
                tracing::debug!(channel = %self.name, line = error.line(), "an update that can’t be read is passed over");
                Ok(())
            }
        }
    }

    async fn hear(&self, message: Message) -> Result<(), PortError> {
        let from = message.from.as_ref();
        let Some(from) = from.filter(|from| message.chat.is_private_with(from)) else {
            return Ok(());
        };
        let chat = message.chat.id;
        let locale = from.locale();
        let at = Timestamp::from_millis(message.date.saturating_mul(1000));
        if let Some(contact) = &message.contact {
            let is_forwarded = message.forward_origin.is_some();
            return self
                .take_contact(chat, contact, is_forwarded, at, locale.as_ref())
                .await;
        }
        let text = message.text.as_deref().unwrap_or_default().trim();
        let command = text.split_whitespace().next().unwrap_or_default();
        // In private chats as well some apps write /start@the_bot.
        let command = command.split('@').next().unwrap_or_default().to_ascii_lowercase();
        let language = self.language(locale.as_ref(), None);
        match command.as_str() {
            "/start" | "start" => {
                let welcome = language.text("telegram-welcome", &[]);
                self.answer(texts::asking_for_contact(chat, language, &welcome), chat)
                    .await;
            }
            "/stop" | "stop" => return self.stop(chat, at, locale.as_ref()).await,
            _ => {
                let help = language.text("telegram-help", &[]);
                self.answer(texts::plain(chat, &help), chat).await;
            }
        }
        Ok(())
    }

    /// The language of somebody who speaks with the bot: their app's, else that of their number's country where it is known.
    fn language(&self, locale: Option<&Locale>, phone: Option<PhoneNumber>) -> &Language {
        self.ports.texts.language(locale, phone)
    }

    /// Opting in. A forwarded contact may be of the past, when its number belonged to the same person.
    async fn take_contact(
        &self,
        chat: i64,
        contact: &Contact,
        is_forwarded: bool,
        at: Timestamp,
        locale: Option<&Locale>,
    ) -> Result<(), PortError> {
        let language = self.language(locale, None);
        if is_forwarded || contact.user_id != Some(chat) {
            let text = texts::not_yours(language);
            self.answer(texts::asking_for_contact(chat, language, &text), chat)
                .await;
            return Ok(());
        }
        let digits: String = contact.phone_number.chars().filter(char::is_ascii_digit).collect();
        let Some(phone) = PhoneNumber::parse(&digits, SandboxNumbers::Refused) else {
            let text = language.text("telegram-no-number", &[]);
            self.answer(texts::asking_for_contact(chat, language, &text), chat)
                .await;
            return Ok(());
        };
        if self.link(chat, phone, at).await? {
            tracing::info!(channel = %self.name, phone = %phone.masked(), "a recipient opted in");
            let text = texts::linked(self.language(locale, Some(phone)), phone);
            self.answer(texts::without_keyboard(chat, &text), chat).await;
        }
        Ok(())
    }

    /// Notes that a number is reached at a chat; false where something later is known.
    async fn link(&self, chat: i64, phone: PhoneNumber, at: Timestamp) -> Result<bool, PortError> {
        let _alone = self.opting.lock().await;
        let recipients = &self.ports.recipients;
        let known = recipients.find(&self.name, phone).await?;
        if known.is_some_and(|known| at < known.since) {
            return Ok(false);
        }
        let address = chat.to_string();
        // A person has one number on Telegram: what they had before may belong to somebody else by now.
        for other in recipients.at_address(&self.name, &address).await? {
            if other.phone != phone && at < other.since {
                return Ok(false);
            }
            if other.phone != phone {
                recipients.remove(&self.name, other.phone).await?;
            }
        }
        let recipient = Recipient {
            phone,
            address,
            stopped: false,
            since: at,
        };
        recipients.put(&self.name, recipient).await?;
        Ok(true)
    }

    /// Opting out.
    async fn stop(&self, chat: i64, at: Timestamp, locale: Option<&Locale>) -> Result<(), PortError> {
        let alone = self.opting.lock().await;
        let recipients = &self.ports.recipients;
        let here = recipients.at_address(&self.name, &chat.to_string()).await?;
        let language = self.language(locale, here.first().map(|recipient| recipient.phone));
        let text = match here.first() {
            None => language.text("telegram-nothing-to-stop", &[]),
            Some(_) => language.text("telegram-stopped", &[]),
        };
        for recipient in here {
            if recipient.since <= at {
                let stopped = Recipient {
                    stopped: true,
                    since: at,
                    ..recipient
                };
                recipients.put(&self.name, stopped).await?;
            }
        }
        drop(alone);
        self.answer(texts::without_keyboard(chat, &text), chat).await;
        Ok(())
    }

    /// Somebody blocked the bot: their number isn't reached here any more.
    async fn notice_membership(&self, change: MyChatMember) -> Result<(), PortError> {
        let is_private = change.chat.is_private_with(&change.from);
        if is_private && matches!(change.new_chat_member.status.as_str(), "kicked" | "left") {
            let at = Timestamp::from_millis(change.date.saturating_mul(1000));
            self.unlink(change.chat.id, Some(at)).await?;
        }
        Ok(())
    }

    /// Forgets who is reached at a chat; what was said there after `at` stands.
    pub(super) async fn unlink(&self, chat: i64, at: Option<Timestamp>) -> Result<(), PortError> {
        let _alone = self.opting.lock().await;
        let recipients = &self.ports.recipients;
        for recipient in recipients.at_address(&self.name, &chat.to_string()).await? {
            if at.is_none_or(|at| recipient.since <= at) {
                recipients.remove(&self.name, recipient.phone).await?;
                tracing::info!(channel = %self.name, phone = %recipient.phone.masked(), "a recipient blocked the bot");
            }
        }
        Ok(())
    }

    /// A button was pressed.
    async fn press(&self, query: CallbackQuery) -> Result<(), PortError> {
        let message = query.message.as_ref();
        let here = message.filter(|message| message.chat.is_private_with(&query.from));
        let Some(message) = here else { return Ok(()) };
        let chat = message.chat.id;
        let button = query.data.as_deref().and_then(|data| self.keys.open(data, chat));
        let (phone, text) = match button {
            None => (None, Err("telegram-answer-too-old")),
            Some(Button::Disown(key)) => {
                self.disown(key).await?;
                (None, Ok("telegram-answer-disowned"))
            }
            Some(Button::Login { attempt, phone, is_me }) => {
                (Some(phone), self.answer_login(chat, attempt, phone, is_me).await?)
            }
        };
        if !self.answers.allow(chat) {
            return Ok(());
        }
        let (Ok(id) | Err(id)) = text;
        let said = self.language(query.from.locale().as_ref(), phone).text(id, &[]);
        let answer = AnswerCallbackQueryParams::builder()
            .callback_query_id(query.id)
            .text(said.as_str())
            .build();
        self.try_call("answerCallbackQuery", &answer).await;
        if text.is_ok() {
            self.try_call("editMessageText", &texts::edited(chat, message.id, &said))
                .await;
        }
        Ok(())
    }

    async fn disown(&self, MessageKey { account, request }: MessageKey) -> Result<(), PortError> {
        let news = ChannelNews {
            account,
            request,
            leg: self.name.clone(),
            news: News::Disowned,
            detail: None,
        };
        let told = self.ports.news.send(news).await;
        told.map_err(|_| PortError("the server ends".to_owned()))
    }

    /// Tells the answer on, where the number is still reached at that chat. `Ok`: the text that stands in place of the question.
    async fn answer_login(
        &self,
        chat: i64,
        attempt: i64,
        phone: PhoneNumber,
        is_me: bool,
    ) -> Result<Result<&'static str, &'static str>, PortError> {
        let known = self.ports.recipients.find(&self.name, phone).await?;
        if known.is_none_or(|known| known.address != chat.to_string()) {
            return Ok(Err("telegram-answer-not-linked"));
        }
        self.prompts().remove(&attempt);
        let reply = LoginReply { attempt, phone, is_me };
        let told = self.ports.logins.send(reply).await;
        told.map_err(|_| PortError("the server ends".to_owned()))?;
        Ok(Ok(if is_me {
            "telegram-answer-confirmed"
        } else {
            "telegram-answer-refused"
        }))
    }

    /// Says something to whoever wrote, unless they write too much.
    async fn answer(&self, text: SendMessageParams, chat: i64) {
        if self.answers.allow(chat) {
            self.try_call("sendMessage", &text).await;
        }
    }
}
