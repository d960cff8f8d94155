//! TLS, client certificates and passwords, with a client of rustls.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::page::Page as Body;
use super::pages::{Pages, Stats};
use super::{Running, Server, Web};
use crate::output::testing::PATIENCE;

struct Page;

impl Pages for Page {
    fn metrics(&self, _: &Stats) -> Option<Body> {
        Some("a 1\n".into())
    }
}

/// A directory with a CA, a server's and a client's certificate.
struct Scene(PathBuf);

impl Scene {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("tracer-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("directory");
        let ca_key = KeyPair::generate().expect("key");
        let mut ca = CertificateParams::new(Vec::new()).expect("params");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = ca.self_signed(&ca_key).expect("ca");
        fs::write(dir.join("ca.crt"), ca.pem()).expect("written");
        for name in ["localhost", "client"] {
            let key = KeyPair::generate().expect("key");
            let params = CertificateParams::new(vec![name.to_owned()]).expect("params");
            let certificate = params.signed_by(&key, &ca, &ca_key).expect("signed");
            fs::write(dir.join(format!("{name}.crt")), certificate.pem()).expect("written");
            fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).expect("written");
        }
        Scene(dir)
    }

    fn configure(&self, more: &str, users: &[(&str, &str)]) {
        let mut text =
            "tls_server_config:\n  cert_file: localhost.crt\n  key_file: localhost.key\n".to_owned();
        text += more;
        if !users.is_empty() {
            text += "basic_auth_users:\n";
            for (name, password) in users {
                text += &format!("  {name}: {}\n", bcrypt::hash(password, 4).expect("hash"));
            }
        }
        self.write(&text);
    }

    fn write(&self, text: &str) {
        // As an editor does it: nobody reads half of it.
        fs::write(self.0.join("new"), text).expect("written");
        fs::rename(self.0.join("new"), self.0.join("web.yml")).expect("renamed");
    }

    fn serve(&self) -> Running {
        let web = Web::read(&self.0.join("web.yml")).expect("valid");
        Server::bind("0").expect("bind").serve(Arc::new(Page), Some(web), || {}).expect("serve")
    }

    fn client(&self, certificate: bool) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.0.join("ca.crt")).expect("ca")).expect("added");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = if certificate {
            let chain = vec![CertificateDer::from_pem_file(self.0.join("client.crt")).expect("client")];
            let key = PrivateKeyDer::from_pem_file(self.0.join("client.key")).expect("key");
            builder.with_client_auth_cert(chain, key).expect("client")
        } else {
            builder.with_no_client_auth()
        };
        Arc::new(config)
    }

    fn get(&self, address: SocketAddr, certificate: bool, who: Option<&str>) -> io::Result<String> {
        let name = ServerName::try_from("localhost").expect("name");
        let connection = ClientConnection::new(self.client(certificate), name).expect("client");
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(connection, socket);
        let authorization =
            who.map(|who| format!("Authorization: Basic {}\r\n", STANDARD.encode(who))).unwrap_or_default();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn status(&self, address: SocketAddr, who: Option<&str>) -> String {
        let answer = self.get(address, false, who).expect("an answer");
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn passwords_over_tls_and_the_file_read_again() {
    let scene = Scene::new("passwords");
    scene.configure("  min_version: TLS13\n", &[("alice", "one")]);
    let server = scene.serve();
    let address = server.address();
    assert_eq!(scene.status(address, Some("alice:one")), "200");
    assert_eq!(scene.status(address, Some("alice:two")), "401");
    assert_eq!(scene.status(address, Some("bob:one")), "401");
    assert_eq!(scene.status(address, None), "401");
    scene.configure("", &[("alice", "two")]);
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(scene.status(address, Some("alice:two")), "200");
    assert_eq!(scene.status(address, Some("alice:one")), "401");
    // A file that is wrong changes nothing.
    scene.write("basic_auth_users:\n  alice: plain\n");
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(scene.status(address, Some("alice:two")), "200");
    // And one that is right again does.
    scene.configure("", &[]);
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(scene.status(address, None), "200");
}

#[test]
fn clients_need_a_certificate_if_the_file_says_so() {
    let scene = Scene::new("certificates");
    scene.configure("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n", &[]);
    let server = scene.serve();
    let answer = scene.get(server.address(), true, None).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(scene.get(server.address(), false, None).is_err());
}

#[test]
fn handshakes_cut_short_and_plain_http() {
    let scene = Scene::new("handshakes");
    scene.configure("", &[]);
    let server = scene.serve();
    let address = server.address();
    // The begin of a ClientHello; and something else.
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let mut open = Vec::new();
    for i in 0..300 {
        let mut stream = TcpStream::connect(address).expect("connect");
        let _ = match i % 3 {
            0 => stream.write_all(&hello[..i % hello.len()]),
            1 => stream.write_all(&hello),
            _ => stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
        };
        if i % 2 == 0 {
            open.push(stream);
        }
    }
    assert_eq!(scene.status(address, None), "200");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let scene = Scene::new("files");
    let path: &Path = &scene.0.join("web.yml");
    let refused = || Web::read(path).err().map(|error| format!("{error:#}")).expect("refused");
    assert!(refused().contains("web.yml"));
    scene.configure("", &[]);
    fs::write(scene.0.join("localhost.key"), "rubbish").expect("written");
    assert!(refused().contains("localhost.key: no private key"), "{}", refused());
    fs::copy(scene.0.join("client.key"), scene.0.join("localhost.key")).expect("copied");
    assert!(refused().contains("do not fit"), "{}", refused());
    fs::write(scene.0.join("localhost.crt"), "").expect("written");
    assert!(refused().contains("holds no certificate"), "{}", refused());
}
