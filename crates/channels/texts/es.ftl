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
email-page-dead = Este enlace ya no es válido.

## The Telegram bot: messages, buttons, and answers

telegram-sender = Remitente: { $sender }
telegram-warning = No se lo dé a nadie.

telegram-button-copy = Copiar código
telegram-button-not-me = No fui yo
telegram-button-confirm = Confirmar
telegram-button-share = Compartir mi número de teléfono

telegram-login-question = Alguien está entrando con su número de teléfono. ¿Es usted?
telegram-login-device = Dispositivo: { $device }
telegram-login-address = Dirección: { $address }
telegram-login-time = Hora: { $time }
telegram-login-over = Esta pregunta ya no está activa.

telegram-welcome = ¡Hola! Le traigo aquí los códigos de verificación de su número de teléfono. Para empezar, comparta su número con el botón de abajo: solo sirve el suyo. Puede dejarlo en cualquier momento con /stop.
telegram-not-yours = Ese no es su propio contacto. Use el botón «{ $button }» de abajo: los códigos de un número solo los recibe su titular.
telegram-no-number = Lo siento, no puedo leer ese número de teléfono. Inténtelo de nuevo con el botón de abajo.
telegram-linked = Listo: a partir de ahora, los códigos de { $phone } llegan aquí. Puede dejarlo en cualquier momento con /stop.
telegram-stopped = Listo: aquí ya no llegan códigos. Si cambia de idea, envíe /start.
telegram-nothing-to-stop = Aquí no llegan códigos. Si los quiere, envíe /start.
telegram-help = Solo traigo códigos de verificación. Con /start comparte su número de teléfono conmigo; con /stop deja de hacerlo.

telegram-answer-disowned = Ha indicado que no fue usted: el código ya no sirve.
telegram-answer-confirmed = Ha confirmado el inicio de sesión.
telegram-answer-refused = Ha indicado que no es usted: el inicio de sesión queda rechazado.
telegram-answer-too-old = Este botón es demasiado antiguo.
telegram-answer-not-linked = Su número ya no está vinculado aquí: envíe /start para empezar de nuevo.
