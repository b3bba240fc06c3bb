<?php
// php send.php PORT CERTIFICATE USER PASSWORD sends one message by PHPMailer, as a web shop would.
foreach (['Exception', 'PHPMailer', 'SMTP'] as $part) {
    require "/usr/share/php/libphp-phpmailer/src/$part.php";
}
[, $port, $certificate, $user, $password] = $argv;
$mail = new PHPMailer\PHPMailer\PHPMailer(true);
$mail->isSMTP();
$mail->Host = 'localhost';
$mail->Port = (int) $port;
$mail->SMTPAuth = true;
$mail->Username = $user;
$mail->Password = $password;
$mail->SMTPSecure = PHPMailer\PHPMailer\PHPMailer::ENCRYPTION_STARTTLS;
$mail->SMTPOptions = ['ssl' => ['cafile' => $certificate]];
$mail->CharSet = 'utf-8';
$mail->setFrom('shop@acme.example', 'Shop');
$mail->addAddress('ada@example.org', 'Ada');
$mail->Subject = 'Grüße';
$mail->Body = '<p>Grüße</p>';
$mail->AltBody = 'Grüße';
$mail->addStringAttachment('a,b', 'order.csv');
$mail->send();
