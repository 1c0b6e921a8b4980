# What recipients read, in Arabic.

## Chat bubbles, and whatever has no text of its own

code = رمز التحقق الخاص بك هو { $code }.
code-from = رمز التحقق الخاص بك لدى { $sender } هو { $code }.

## Short messages: one segment has 160 characters of the GSM alphabet, or 70 of others

sms-code = رمز التحقق الخاص بك هو { $code }.
sms-code-from = رمز التحقق الخاص بك لدى { $sender } هو { $code }.
sms-code-short = الرمز: { $code }
sms-login = رمز الدخول إلى { $site } هو { $code }. لا تعطه لأحد.

## E-mail

email-subject = رمز التحقق الخاص بك هو { $code }
email-subject-from = رمز التحقق الخاص بك لدى { $sender } هو { $code }
email-heading = رمز التحقق الخاص بك
email-heading-from = رمز التحقق الخاص بك لدى { $sender }
email-life =
    { $minutes ->
        [one] الرمز صالح لمدة دقيقة واحدة.
        [two] الرمز صالح لمدة دقيقتين.
        [few] الرمز صالح لمدة { $minutes } دقائق.
        [many] الرمز صالح لمدة { $minutes } دقيقة.
       *[other] الرمز صالح لمدة { $minutes } دقيقة.
    }
email-warning = لا تعطِ هذا الرمز لأحد. إذا لم تطلبه فيمكنك تجاهل هذه الرسالة.
email-login-subject = رمز الدخول إلى { $site } هو { $code }
email-login-heading = رمز الدخول
email-login-from = يحاول شخص ما الدخول برقم هاتفك: { $device }، { $address }.
email-disown = لم أطلب هذا الرمز، أو لا أريد مزيدًا من هذه الرسائل:
email-page-heading = الرموز عبر البريد الإلكتروني
email-page-disown = لم أطلب هذا الرمز
email-page-stop = لا ترسلوا إليّ مزيدًا من الرموز عبر البريد الإلكتروني
email-page-start = أرسلوا إليّ الرموز عبر البريد الإلكتروني من جديد
email-page-disowned = شكرًا. لم يعد الرمز صالحًا.
email-page-stopped = لن تصلك رموز عبر البريد الإلكتروني بعد الآن.
email-page-started = ستصلك الرموز عبر البريد الإلكتروني من جديد.
email-page-dead = لم يعد هذا الرابط صالحًا.

## The Telegram bot: messages, buttons, and answers

# \u2066 … \u2069 and \u200E keep what is Latin, a number or a command in its own direction.

telegram-sender = المرسل: { $sender }
telegram-warning = لا تعطِ هذا الرمز لأحد.

telegram-button-copy = نسخ الرمز
telegram-button-not-me = لم أكن أنا
telegram-button-confirm = تأكيد
telegram-button-share = مشاركة رقم هاتفي

telegram-login-question = يحاول شخص ما تسجيل الدخول برقم هاتفك. هل هذا أنت؟
telegram-login-device = الجهاز: {"\u2066"}{ $device }{"\u2069"}
telegram-login-address = العنوان: {"\u2066"}{ $address }{"\u2069"}
telegram-login-time = الوقت: {"\u2066"}{ $time }{"\u2069"}
telegram-login-over = لم يعد هذا السؤال قائمًا.

telegram-welcome = مرحبًا! أوصل إلى هنا رموز التحقق الخاصة برقم هاتفك. للبدء، شارك رقمك بالزر أدناه: لا يُقبل إلا رقمك أنت. يمكنك الإيقاف في أي وقت بالأمر {"\u200E"}/stop.
telegram-not-yours = هذه ليست جهة اتصالك أنت. يُرجى استخدام الزر «{ $button }» أدناه: رموز كل رقم لا تصل إلا إلى صاحبه.
telegram-no-number = عذرًا، لا يمكنني قراءة رقم الهاتف هذا. يُرجى المحاولة مرة أخرى بالزر أدناه.
telegram-linked = تم: ستصل رموز الرقم {"\u2066"}{ $phone }{"\u2069"} إلى هنا من الآن فصاعدًا. يمكنك الإيقاف في أي وقت بالأمر {"\u200E"}/stop.
telegram-stopped = تم: لن تصل رموز إلى هنا بعد الآن. إذا غيّرت رأيك فأرسل {"\u200E"}/start.
telegram-nothing-to-stop = لا تصل رموز إلى هنا. إذا أردتها فأرسل {"\u200E"}/start.
telegram-help = أوصل رموز التحقق فقط. بالأمر {"\u200E"}/start تشاركني رقم هاتفك، وبالأمر {"\u200E"}/stop تنهي ذلك.

telegram-answer-disowned = أفدت بأنك لم تطلب الرمز: لم يعد صالحًا.
telegram-answer-confirmed = لقد أكدت تسجيل الدخول.
telegram-answer-refused = أفدت بأن هذا ليس أنت: رُفض تسجيل الدخول.
telegram-answer-too-old = هذا الزر قديم جدًا.
telegram-answer-not-linked = لم يعد رقمك مرتبطًا هنا: أرسل {"\u200E"}/start للبدء من جديد.
