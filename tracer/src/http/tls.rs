//! TLS by rustls: 1.2 and 1.3, certificates from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::web_config::{ClientAuth, TlsConfig};

/// Reads the certificates; paths that are not absolute are below `base`.
pub fn acceptor(config: &TlsConfig, base: &Path) -> Result<TlsAcceptor> {
    let provider = Arc::new(ring::default_provider());
    let versions: Vec<_> = [(config.versions.0, &TLS12), (config.versions.1, &TLS13)]
        .into_iter()
        .filter_map(|(wanted, version)| wanted.then_some(version))
        .collect();
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&versions)?;
    let builder = match &config.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&base.join(file))? {
                roots.add(certificate).with_context(|| format!("{}: not a CA's", file.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match config.client_auth {
                ClientAuth::Required => verifier,
                ClientAuth::None | ClientAuth::IfGiven => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let (cert_file, key_file) = (base.join(&config.cert_file), base.join(&config.key_file));
    let key = PrivateKeyDer::from_pem_file(&key_file)
        .map_err(|cause| anyhow!("{}: no private key in PEM: {cause}", key_file.display()))?;
    let mut server = builder
        .with_single_cert(certificates(&cert_file)?, key)
        .with_context(|| format!("{} and {} do not fit", cert_file.display(), key_file.display()))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

fn certificates(file: &PathBuf) -> Result<Vec<CertificateDer<'static>>> {
    let shown = file.display();
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|cause| anyhow!("{shown}: no certificate in PEM: {cause}"))?;
    if found.is_empty() {
        bail!("{shown}: holds no certificate");
    }
    Ok(found)
}
