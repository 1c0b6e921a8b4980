# What recipients read, in Portuguese.

## Chat bubbles, and whatever has no text of its own

code = { $code } é o seu código de verificação.
code-from = { $code } é o seu código de verificação para { $sender }.

## Short messages: one segment has 160 characters of the GSM alphabet, or 70 of others

sms-code = { $code } é o seu código de verificação.
sms-code-from = { $code } é o seu código de verificação para { $sender }.
sms-code-short = Código: { $code }
sms-login = { $code } é o seu código para entrar em { $site }. Não o compartilhe com ninguém.

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
email-warning = Não o compartilhe com ninguém. Se não o solicitou, pode ignorar esta mensagem.
email-login-subject = { $code } é o seu código para entrar em { $site }
email-login-heading = O seu código para entrar
email-login-from = Alguém está entrando com o seu número de telefone: { $device }, { $address }.
email-disown = Não pedi este código, ou não quero receber mais mensagens como esta:
email-page-heading = Códigos por e-mail
email-page-disown = Não pedi este código
email-page-stop = Não me enviar mais códigos por e-mail
email-page-start = Voltar a me enviar códigos por e-mail
email-page-disowned = Obrigado. O código não é mais válido.
email-page-stopped = Não receberá mais códigos por e-mail.
email-page-started = Voltará a receber códigos por e-mail.
email-page-dead = Este link já não é válido.

## The Telegram bot: messages, buttons, and answers

telegram-sender = Remetente: { $sender }
telegram-warning = Não o compartilhe com ninguém.

telegram-button-copy = Copiar código
telegram-button-not-me = Não fui eu
telegram-button-confirm = Confirmar
telegram-button-share = Compartilhar meu número de telefone

telegram-login-question = Alguém está entrando com o seu número de telefone. É você?
telegram-login-device = Dispositivo: { $device }
telegram-login-address = Endereço: { $address }
telegram-login-time = Hora: { $time }
telegram-login-over = Esta pergunta não está mais ativa.

telegram-welcome = Olá! Trago para cá os códigos de verificação do seu número de telefone. Para começar, compartilhe o seu número com o botão abaixo: só serve o seu próprio. Você pode parar quando quiser com /stop.
telegram-not-yours = Esse não é o seu próprio contato. Use o botão “{ $button }” abaixo: só o titular de um número recebe os códigos dele.
telegram-no-number = Não consigo ler esse número de telefone. Tente novamente com o botão abaixo.
telegram-linked = Pronto: a partir de agora, os códigos de { $phone } chegam aqui. Você pode parar quando quiser com /stop.
telegram-stopped = Pronto: não chegam mais códigos aqui. Se mudar de ideia, envie /start.
telegram-nothing-to-stop = Não chegam códigos aqui. Se quiser recebê-los, envie /start.
telegram-help = Só trago códigos de verificação. Com /start, você compartilha o seu número de telefone comigo; com /stop, deixa de fazê-lo.

telegram-answer-disowned = Você indicou que não foi você: o código não vale mais.
telegram-answer-confirmed = Você confirmou a entrada.
telegram-answer-refused = Você indicou que não é você: a entrada foi recusada.
telegram-answer-too-old = Este botão é antigo demais.
telegram-answer-not-linked = O seu número não está mais vinculado aqui: envie /start para começar de novo.
