# What recipients read, in German.

## Chat bubbles, and whatever has no text of its own

code = { $code } ist Ihr Bestätigungscode.
code-from = { $code } ist Ihr Bestätigungscode für { $sender }.

## Short messages: one segment has 160 characters of the GSM alphabet, or 70 of others

sms-code = { $code } ist Ihr Bestätigungscode.
sms-code-from = { $code } ist Ihr Bestätigungscode für { $sender }.
sms-code-short = Code: { $code }
sms-login = { $code } ist Ihr Code zum Anmelden bei { $site }. Geben Sie ihn niemandem.

## E-mail

email-subject = { $code } ist Ihr Bestätigungscode
email-subject-from = { $code } ist Ihr Bestätigungscode für { $sender }
email-heading = Ihr Bestätigungscode
email-heading-from = Ihr Bestätigungscode für { $sender }
email-life =
    { $minutes ->
        [one] Er gilt eine Minute.
       *[other] Er gilt { $minutes } Minuten.
    }
email-warning = Geben Sie ihn niemandem. Wenn Sie ihn nicht angefordert haben, können Sie diese Nachricht ignorieren.
email-login-subject = { $code } ist Ihr Code zum Anmelden bei { $site }
email-login-heading = Ihr Code zum Anmelden
email-login-from = Jemand meldet sich mit Ihrer Telefonnummer an: { $device }, { $address }.
email-disown = Ich habe diesen Code nicht angefordert oder möchte keine solchen Nachrichten mehr:
email-page-heading = Codes per E-Mail
email-page-disown = Ich habe diesen Code nicht angefordert
email-page-stop = Mir keine Codes mehr per E-Mail schicken
email-page-start = Mir wieder Codes per E-Mail schicken
email-page-disowned = Danke. Der Code gilt nicht mehr.
email-page-stopped = Sie erhalten keine Codes mehr per E-Mail.
email-page-started = Sie erhalten wieder Codes per E-Mail.
