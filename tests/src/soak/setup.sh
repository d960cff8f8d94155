# Installs the package $1 and lets it serve over TLS with a password, as docs/install.md tells it. Run as root in a
# VM whose first process is systemd. What wants to scrape finds its files in $2.
set -eu
package=$1
client=$2

# The boot goes on meanwhile.
for second in $(seq 120); do
    systemctl is-active --quiet basic.target && break
    sleep 1
done
# The index of manual pages takes minutes on an emulated CPU.
rm -f /var/lib/man-db/auto-update
# Images of containers have one that forbids to start services.
rm -f /usr/sbin/policy-rc.d
# Of the two ways of docs/install.md the one that gives the service no more capabilities.
sysctl --quiet kernel.perf_event_paranoid=2

dpkg --install "$package"
cd /etc/tracer
openssl req -x509 -nodes -days 30 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout server.key -out server.crt
cat >web.yml <<'END'
tls_server_config:
  cert_file: server.crt
  key_file: server.key
basic_auth_users:
  prometheus: $2b$10$abcdefghijklmnopqrstuupSR8VGCSL4E/wQdxrBvdMZfqQm6R.3K
END
chgrp tracer web.yml server.key server.crt
chmod 0640 web.yml server.key server.crt
echo 'TRACER_OPTIONS="--web.config.file /etc/tracer/web.yml"' >>/etc/default/tracer
systemctl restart tracer

mkdir -p "$client"
cp server.crt "$client/ca.crt"
# What the hash above is of.
printf moved-not-copied >"$client/password"
