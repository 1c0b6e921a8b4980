# What recipients read, in Spanish.

## Chat bubbles, and whatever has no text of its own

code = { $code } es su código de verificación.
code-from = { $code } es su código de verificación para { $sender }.

## Short messages: one segment has 160 characters of the GSM alphabet, or 70 of others

sms-code = { $code } es su código de verificación.
sms-code-from = { $code } es su código de verificación para { $sender }.
sms-code-short = Código: { $code }
sms-login = { $code } es su código para entrar en { $site }. No se lo dé a nadie.

## E-mail

email-subject = { $code } es su código de verificación
email-subject-from = { $code } es su código de verificación para { $sender }
email-heading = Su código de verificación
email-heading-from = Su código de verificación para { $sender }
email-life =
    { $minutes ->
        [one] Vale durante un minuto.
       *[other] Vale durante { $minutes } minutos.
    }
email-warning = No se lo dé a nadie. Si no lo ha pedido, puede ignorar este mensaje.
email-login-subject = { $code } es su código para entrar en { $site }
email-login-heading = Su código para entrar
email-login-from = Alguien está entrando con su número de teléfono: { $device }, { $address }.
email-disown = No he pedido este código, o no quiero recibir más mensajes como este:
email-page-heading = Códigos por correo electrónico
email-page-disown = No he pedido este código
email-page-stop = No enviarme más códigos por correo electrónico
email-page-start = Volver a enviarme códigos por correo electrónico
email-page-disowned = Gracias. El código ya no vale.
email-page-stopped = Ya no recibirá códigos por correo electrónico.
email-page-started = Volverá a recibir códigos por correo electrónico.
