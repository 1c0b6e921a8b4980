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
email-page-dead = Dieser Link gilt nicht mehr.

## The Telegram bot: messages, buttons, and answers

telegram-sender = Absender: { $sender }
telegram-warning = Geben Sie ihn niemandem.

telegram-button-copy = Code kopieren
telegram-button-not-me = Das war ich nicht
telegram-button-confirm = Bestätigen
telegram-button-share = Meine Telefonnummer teilen

telegram-login-question = Jemand meldet sich mit Ihrer Telefonnummer an. Sind Sie das?
telegram-login-device = Gerät: { $device }
telegram-login-address = Adresse: { $address }
telegram-login-time = Zeit: { $time }
telegram-login-over = Diese Frage hat sich erledigt.

telegram-welcome = Guten Tag! Ich bringe Bestätigungscodes für Ihre Telefonnummer hierher. Teilen Sie dazu Ihre Nummer mit der Schaltfläche unten: Es geht nur mit Ihrer eigenen. Mit /stop beenden Sie das jederzeit.
telegram-not-yours = Das ist nicht Ihr eigener Kontakt. Bitte verwenden Sie unten die Schaltfläche „{ $button }“: Codes für eine Nummer bekommt nur, wem sie gehört.
telegram-no-number = Diese Telefonnummer kann ich leider nicht lesen. Bitte versuchen Sie es mit der Schaltfläche unten noch einmal.
telegram-linked = Fertig: Codes für { $phone } kommen ab jetzt hierher. Mit /stop beenden Sie das jederzeit.
telegram-stopped = Fertig: Es kommen keine Codes mehr hierher. Wenn Sie es sich anders überlegen, senden Sie /start.
telegram-nothing-to-stop = Es kommen keine Codes hierher. Wenn Sie welche möchten, senden Sie /start.
telegram-help = Ich bringe nur Bestätigungscodes. Mit /start teilen Sie Ihre Telefonnummer mit mir, mit /stop beenden Sie das.

telegram-answer-disowned = Sie haben angegeben, dass Sie das nicht waren: Der Code gilt nicht mehr.
telegram-answer-confirmed = Sie haben die Anmeldung bestätigt.
telegram-answer-refused = Sie haben angegeben, dass Sie das nicht sind: Die Anmeldung ist abgelehnt.
telegram-answer-too-old = Diese Schaltfläche ist zu alt.
telegram-answer-not-linked = Ihre Nummer ist hier nicht mehr verknüpft: Mit /start beginnen Sie von vorn.
