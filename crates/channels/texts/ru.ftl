# What recipients read, in Russian.

## Chat bubbles, and whatever has no text of its own

code = { $code } — ваш код подтверждения.
code-from = { $code } — ваш код подтверждения для { $sender }.

## Short messages: one segment has 160 characters of the GSM alphabet, or 70 of others

sms-code = { $code } — ваш код подтверждения.
sms-code-from = { $code } — ваш код подтверждения для { $sender }.
sms-code-short = Код: { $code }
sms-login = { $code } — код для входа на { $site }. Никому его не сообщайте.

## E-mail

email-subject = { $code } — ваш код подтверждения
email-subject-from = { $code } — ваш код подтверждения для { $sender }
email-heading = Ваш код подтверждения
email-heading-from = Ваш код подтверждения для { $sender }
email-life =
    { $minutes ->
        [one] Он действует { $minutes } минуту.
        [few] Он действует { $minutes } минуты.
       *[other] Он действует { $minutes } минут.
    }
email-warning = Никому его не сообщайте. Если вы его не запрашивали, просто проигнорируйте это письмо.
email-login-subject = { $code } — код для входа на { $site }
email-login-heading = Ваш код для входа
email-login-from = Кто-то входит с вашим номером телефона: { $device }, { $address }.
email-disown = Этот код запрошен не мной, или я больше не хочу получать такие письма:
email-page-heading = Коды по электронной почте
email-page-disown = Этот код запрошен не мной
email-page-stop = Больше не присылать мне коды по электронной почте
email-page-start = Снова присылать мне коды по электронной почте
email-page-disowned = Спасибо. Код больше не действует.
email-page-stopped = Коды по электронной почте больше не будут приходить.
email-page-started = Коды по электронной почте снова будут приходить.
