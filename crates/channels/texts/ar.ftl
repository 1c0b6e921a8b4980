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
