# What recipients read, in English. The ids are explained in docs/texts.md.

## Chat bubbles, and whatever has no text of its own

code = { $code } is your verification code.
code-from = { $code } is your verification code for { $sender }.

## Short messages: one segment has 160 characters of the GSM alphabet, or 70 of others

sms-code = { $code } is your verification code.
sms-code-from = { $code } is your verification code for { $sender }.
sms-code-short = Code: { $code }
sms-login = { $code } is your code to sign in to { $site }. Don't give it to anybody.

## E-mail

email-subject = { $code } is your verification code
email-subject-from = { $code } is your verification code for { $sender }
email-heading = Your verification code
email-heading-from = Your verification code for { $sender }
email-life =
    { $minutes ->
        [one] It works for one minute.
       *[other] It works for { $minutes } minutes.
    }
email-warning = Don’t give it to anybody. If you didn’t ask for it, you can ignore this message.
email-login-subject = { $code } is your code to sign in to { $site }
email-login-heading = Your code to sign in
email-login-from = Somebody signs in with your phone number: { $device }, { $address }.
email-disown = I didn’t ask for this code, or want no more of these messages:
email-page-heading = Codes by e-mail
email-page-disown = I didn’t ask for this code
email-page-stop = Send me no more codes by e-mail
email-page-start = Send me codes by e-mail again
email-page-disowned = Thank you. The code doesn’t work any more.
email-page-stopped = You will get no more codes by e-mail.
email-page-started = You will get codes by e-mail again.
email-page-dead = This link doesn’t work any more.

## The Telegram bot: messages, buttons, and answers

telegram-sender = Sender: { $sender }
telegram-warning = Don’t give it to anybody else.

telegram-button-copy = Copy code
telegram-button-not-me = It wasn’t me
telegram-button-confirm = Confirm
telegram-button-share = Share my phone number

telegram-login-question = Somebody signs in with your phone number. Is that you?
telegram-login-device = Device: { $device }
telegram-login-address = Address: { $address }
telegram-login-time = Time: { $time }
telegram-login-over = This question is over.

telegram-welcome = Hello! I bring verification codes to your phone number. To begin, share your number with the button below: only your own works. You can leave at any time with /stop.
telegram-not-yours = That isn’t your own contact. Please use the button “{ $button }” below: codes for a number go to its owner only.
telegram-no-number = I can’t read that phone number, sorry. Please try the button below once more.
telegram-linked = Done: codes for { $phone } come here from now on. You can leave at any time with /stop.
telegram-stopped = Done: no more codes come here. If you change your mind, /start begins again.
telegram-nothing-to-stop = No codes come here. If you want them, /start begins.
telegram-help = I only bring verification codes. /start shares your phone number with me, /stop ends that.

telegram-answer-disowned = You said that this wasn’t you: the code doesn’t work any more.
telegram-answer-confirmed = You confirmed the sign-in.
telegram-answer-refused = You said that it wasn’t you: the sign-in is refused.
telegram-answer-too-old = This button is too old.
telegram-answer-not-linked = Your number isn’t linked here any more: /start begins again.
