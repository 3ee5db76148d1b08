#!/bin/bash
# setup.sh: what docker-compose.yml needs once: passwords in volumes, each volume its reader's alone. What is there stays.
# WEIR_POSTGRES and WEIR_RABBITMQ are HOST:PORT of the servers; VOLUMES is where the volumes are (default /volumes).
# The passwords are for trying: who governs the machine reads them all.
set -eu
umask 077
cd "${VOLUMES:-/volumes}"
weir=64100:64200
server=999:999 # both in the image of PostgreSQL and in that of RabbitMQ

# secret FILE: a random one is made where it is missing; then it is printed.
secret() {
	[ -s "$1" ] || { od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$1.new" && mv "$1.new" "$1"; }
	cat "$1"
}

superuser=$(secret login-postgres/superuser)
owner=$(secret login-postgres/owner)
broker=$(secret login-rabbitmq/password)
passphrase=$(secret office/passphrase)
[ -n "$superuser" ] && [ -n "$passphrase" ]

printf 'postgresql://owner:%s@%s/warehouse\n' "$owner" "$WEIR_POSTGRES" >owner/dsn
printf 'amqp://weir:%s@%s/loans\n' "$broker" "$WEIR_RABBITMQ" >sources/amqp
cat >login-rabbitmq/definitions.json <<DEFINITIONS
{
  "vhosts": [{ "name": "loans" }],
  "users": [{ "name": "weir", "password": "$broker", "tags": "" }],
  "permissions": [{ "user": "weir", "vhost": "loans", "configure": "", "write": ".*", "read": ".*" }],
  "queues": [{ "name": "loans.offer", "vhost": "loans", "durable": true, "auto_delete": false, "arguments": { "x-queue-type": "quorum" } }]
}
DEFINITIONS

chown -R "$server" login-postgres login-rabbitmq
chown -R "$weir" owner sources office
chown "$weir" keys keys-apply keys-weir logins data handoffs
chmod 700 login-postgres login-rabbitmq owner sources office keys keys-apply keys-weir logins handoffs
chmod 755 data
echo "passwords and volumes are there"
