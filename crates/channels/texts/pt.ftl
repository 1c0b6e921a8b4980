# What recipients read, in Portuguese.

## Chat bubbles, and whatever has no text of its own

code = { $code } é o seu código de verificação.
code-from = { $code } é o seu código de verificação para { $sender }.

## Short messages: one segment has 160 characters of the GSM alphabet, or 70 of others

sms-code = { $code } é o seu código de verificação.
sms-code-from = { $code } é o seu código de verificação para { $sender }.
sms-code-short = Código: { $code }
sms-login = { $code } é o seu código para entrar em { $site }. Não o dê a ninguém.

## E-mail

email-subject = { $code } é o seu código de verificação
email-subject-from = { $code } é o seu código de verificação para { $sender }
email-heading = O seu código de verificação
email-heading-from = O seu código de verificação para { $sender }
email-life =
    { $minutes ->
        [one] É válido por um minuto.
       *[other] É válido por { $minutes } minutos.
    }
email-warning = Não o dê a ninguém. Se não o pediu, pode ignorar esta mensagem.
email-login-subject = { $code } é o seu código para entrar em { $site }
email-login-heading = O seu código para entrar
email-login-from = Alguém está a entrar com o seu número de telefone: { $device }, { $address }.
email-disown = Não pedi este código, ou não quero receber mais mensagens como esta:
email-page-heading = Códigos por e-mail
email-page-disown = Não pedi este código
email-page-stop = Não me enviar mais códigos por e-mail
email-page-start = Voltar a enviar-me códigos por e-mail
email-page-disowned = Obrigado. O código já não é válido.
email-page-stopped = Não receberá mais códigos por e-mail.
email-page-started = Voltará a receber códigos por e-mail.
