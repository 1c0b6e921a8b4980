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
email-page-dead = Эта ссылка больше не действует.

## The Telegram bot: messages, buttons, and answers

telegram-sender = Отправитель: { $sender }
telegram-warning = Никому его не сообщайте.

telegram-button-copy = Скопировать код
telegram-button-not-me = Это не я
telegram-button-confirm = Подтвердить
telegram-button-share = Отправить мой номер телефона

telegram-login-question = Кто-то входит с вашим номером телефона. Это вы?
telegram-login-device = Устройство: { $device }
telegram-login-address = Адрес: { $address }
telegram-login-time = Время: { $time }
telegram-login-over = Этот вопрос уже не актуален.

telegram-welcome = Здравствуйте! Я присылаю сюда коды подтверждения для вашего номера телефона. Чтобы начать, отправьте свой номер кнопкой ниже: подойдёт только ваш собственный. Отказаться можно в любой момент командой /stop.
telegram-not-yours = Это не ваш собственный контакт. Пожалуйста, нажмите кнопку «{ $button }» ниже: коды для номера получает только его владелец.
telegram-no-number = К сожалению, не получается прочитать этот номер телефона. Пожалуйста, попробуйте кнопку ниже ещё раз.
telegram-linked = Готово: теперь коды для { $phone } приходят сюда. Отказаться можно в любой момент командой /stop.
telegram-stopped = Готово: коды сюда больше не приходят. Если передумаете, отправьте /start.
telegram-nothing-to-stop = Коды сюда не приходят. Если они вам нужны, отправьте /start.
telegram-help = Я присылаю только коды подтверждения. Командой /start вы сообщаете мне свой номер телефона, командой /stop отказываетесь от кодов.

telegram-answer-disowned = Вы сообщили, что это не вы: код больше не действует.
telegram-answer-confirmed = Вы подтвердили вход.
telegram-answer-refused = Вы сообщили, что это не вы: вход отклонён.
telegram-answer-too-old = Эта кнопка устарела.
telegram-answer-not-linked = Ваш номер здесь больше не привязан: чтобы начать заново, отправьте /start.
