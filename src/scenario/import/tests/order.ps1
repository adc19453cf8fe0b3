$session = New-Object Microsoft.PowerShell.Commands.WebRequestSession
$session.UserAgent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
$session.Cookies.Add((New-Object System.Net.Cookie("sid", "abc", "/", "127.0.0.1")))
Invoke-WebRequest -UseBasicParsing -Uri "http://127.0.0.1:7200/orders?x=1" `
-Method "POST" `
-WebSession $session `
-Headers @{
"authority"="127.0.0.1"
  "method"="POST"
  "accept"="*/*"
  "x-requested-with"="XMLHttpRequest"
} `
-ContentType "application/json" `
-Body "{`"a`":`"b`",`"n`":[1,2]}"
