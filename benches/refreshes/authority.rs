//! A certificate authority of the benchmark's own, whose one certificate is the simulator's.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

/// Whoever reads certificates at its start reads as many as on any machine, and ours.
const OF_THE_SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

const ROOTS: &str = "roots.pem";
const CERTIFICATE: &str = "simulator.pem";
const KEY: &str = "simulator-key.pem";

/// The files of the authority, as long as it lives.
pub struct Authority {
    dir: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
        let authority = authority.expect("a certificate");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");

        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: String| fs::write(dir.path().join(name), text).expect("written");
        let of_the_system = fs::read_to_string(OF_THE_SYSTEM).unwrap_or_default();
        write(ROOTS, of_the_system + &authority.pem());
        write(CERTIFICATE, certificate.pem());
        write(KEY, key.serialize_pem());
        Self { dir }
    }

    /// Where the simulator finds its certificate.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What a client has to trust, by way of `SSL_CERT_FILE`.
    pub fn roots(&self) -> PathBuf {
        self.dir.path().join(ROOTS)
    }
}

/// The simulator's side of TLS. Like finAPI it offers both versions of HTTP, and the client chooses.
pub fn server_config(dir: &Path) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(dir.join(CERTIFICATE)).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(dir.join(KEY)).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth();
    let mut config = config.with_single_cert(vec![certificate], key).expect("they match");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}
