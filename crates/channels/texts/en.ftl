# What recipients read, in English. The ids are explained in docs/texts.md.

## Chat bubbles, and whatever has no text of its own

code = { $code } is your verification code.
code-from = { $code } is your verification code for { $sender }.

## Short messages: one segment has 160 characters of the GSM alphabet, or 70 of others

sms-code = { $code } is your verification code.
sms-code-from = { $code } is your verification code for { $sender }.
sms-code-short = Code: { $code }
sms-login = { $code } is your code to sign in to { $site }. Tell it to nobody.

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
