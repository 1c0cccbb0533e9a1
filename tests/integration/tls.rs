//! TLS to a broker that wants a certificate of each client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bankrefresh::broker::rabbit::{self, Settings, TlsFiles};
use bankrefresh::broker::topology::Topology;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::support::platform::{PATIENCE, Platform, command, install_crypto, quick};
use crate::support::rabbitmq::{self, ADDRESS, RabbitMq, Setup};

/// The broker's name in its certificate.
const HOST: &str = "localhost";

/// A broker with TLS, and who may connect.
struct Secured {
    rabbit: RabbitMq,
    port: u16,
    /// The CA of the broker and of its clients.
    ca: PathBuf,
    client: Identity,
    /// A CA that is neither's, and a client of it.
    foreign_ca: PathBuf,
    foreigner: Identity,
    dir: TempDir,
}

struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

impl Secured {
    async fn start() -> Self {
        install_crypto();
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        let (ours, foreign) = (authority("ours"), authority("foreign"));
        let (ca, foreign_ca) = (at("ca.pem"), at("foreign-ca.pem"));
        std::fs::write(&ca, ours.pem()).expect("written");
        std::fs::write(&foreign_ca, foreign.pem()).expect("written");
        let broker = Identity::issue(&ours, HOST, dir.path(), "broker");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let config = format!(
            "listeners.ssl.1 = {ADDRESS}:{port}\n\
             ssl_options.cacertfile = {}\n\
             ssl_options.certfile = {}\n\
             ssl_options.keyfile = {}\n\
             ssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = true\n",
            ca.display(),
            broker.certificate.display(),
            broker.key.display(),
        );
        let setup = Setup {
            config,
            files: vec![ca.clone(), broker.certificate, broker.key],
            ports: vec![port],
            ..Setup::default()
        };
        let secured = Self {
            client: Identity::issue(&ours, "client", dir.path(), "client"),
            foreigner: Identity::issue(&foreign, "client", dir.path(), "foreigner"),
            rabbit: RabbitMq::with(setup).await,
            port,
            ca,
            foreign_ca,
            dir,
        };
        // It listens for TLS a moment later than without.
        let settings = secured.settings(HOST, secured.tls());
        let listens = async {
            while rabbit::check(&settings, &Topology::new("t")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, listens)
            .await
            .expect("it listens for TLS in time");
        secured
    }

    /// The files that are right.
    fn tls(&self) -> TlsFiles {
        TlsFiles {
            ca: Some(self.ca.clone()),
            client_certificate: Some(self.client.certificate.clone()),
            client_key: Some(self.client.key.clone()),
        }
    }

    fn url(&self, host: &str) -> String {
        format!("amqps://guest:guest@{host}:{}/%2f", self.port)
    }

    fn settings(&self, host: &str, tls: TlsFiles) -> Settings {
        Settings {
            ca_file: tls.ca,
            client_certificate_file: tls.client_certificate,
            client_key_file: tls.client_key,
            ..Settings::new(self.url(host).parse().expect("a URL"))
        }
    }

    /// Why it can't be connected to.
    async fn refusal(&self, host: &str, tls: TlsFiles) -> String {
        let outcome = rabbit::check(&self.settings(host, tls), &Topology::new("t")).await;
        outcome.expect_err("it is refused").to_string()
    }
}

impl Identity {
    fn issue(issuer: &CertifiedIssuer<'_, KeyPair>, name: &str, dir: &Path, file: &str) -> Self {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let issued = params.signed_by(&key, issuer).expect("a certificate");
        let identity = Self {
            certificate: dir.join(format!("{file}.pem")),
            key: dir.join(format!("{file}-key.pem")),
        };
        std::fs::write(&identity.certificate, issued.pem()).expect("written");
        std::fs::write(&identity.key, key.serialize_pem()).expect("written");
        identity
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a certificate")
}

#[tokio::test]
async fn a_worker_with_the_right_files_works_and_any_other_is_refused() {
    let secured: &'static Secured = Box::leak(Box::new(Secured::start().await));
    let mut platform = Platform::on(&secured.rabbit, quick()).await;
    let text = |path: &Path| path.to_str().expect("a path").to_owned();
    let mut worker = platform.worker(&[
        ("AMQP__URL", &secured.url(HOST)),
        ("AMQP__CA_FILE", &text(&secured.ca)),
        ("AMQP__CLIENT_CERTIFICATE_FILE", &text(&secured.client.certificate)),
        ("AMQP__CLIENT_KEY_FILE", &text(&secured.client.key)),
    ]);
    let id = platform.send(command(1)).await;
    platform.outcome(&id).await;
    // What is put into its files and can't be used changes nothing: a file that is no certificate, and one that the broker refuses.
    let good = [&secured.client.certificate, &secured.client.key].map(|path| std::fs::read(path).expect("read"));
    let foreign =
        [&secured.foreigner.certificate, &secured.foreigner.key].map(|path| std::fs::read(path).expect("read"));
    let put = |[certificate, key]: [&[u8]; 2]| {
        std::fs::write(&secured.client.certificate, certificate).expect("written");
        std::fs::write(&secured.client.key, key).expect("written");
    };
    for (connection, bad) in [(2, [b"junk", &good[1][..]]), (3, [&foreign[0], &foreign[1]])] {
        put(bad);
        let before = worker.log.text().matches("made with those before").count();
        secured.rabbit.close_connections("bankrefresh worker").await;
        let id = platform.send(command(connection)).await;
        platform.outcome(&id).await;
        assert!(
            worker.log.text().matches("made with those before").count() > before,
            "{}",
            worker.log.text()
        );
    }
    put([&good[0], &good[1]]);
    worker.signal("TERM").await;
    assert!(worker.ended().await.success());

    let wrong_ca = secured.refusal(
        HOST,
        TlsFiles {
            ca: Some(secured.foreign_ca.clone()),
            ..secured.tls()
        },
    );
    let wrong_ca = wrong_ca.await;
    assert!(wrong_ca.contains("is amqp.ca_file"), "{wrong_ca}");
    assert!(wrong_ca.contains(&format!("localhost:{}", secured.port)), "{wrong_ca}");

    let system = TlsFiles {
        ca: None,
        ..secured.tls()
    };
    let system = secured.refusal(HOST, system).await;
    assert!(system.contains("amqp.ca_file"), "{system}");

    let wrong_host = secured.refusal("127.0.0.1", secured.tls()).await;
    assert!(
        wrong_host.contains(r#"its certificate is not for "127.0.0.1""#),
        "{wrong_host}"
    );

    let nobody = TlsFiles {
        client_certificate: None,
        client_key: None,
        ..secured.tls()
    };
    let nobody = secured.refusal(HOST, nobody).await;
    assert!(nobody.contains("amqp.client_certificate_file"), "{nobody}");

    let foreigner = TlsFiles {
        client_certificate: Some(secured.foreigner.certificate.clone()),
        client_key: Some(secured.foreigner.key.clone()),
        ..secured.tls()
    };
    let foreigner = secured.refusal(HOST, foreigner).await;
    assert!(foreigner.contains("amqp.client_certificate_file"), "{foreigner}");

    // TLS to the port without, and the other way round.
    let mut swapped = secured.settings(HOST, secured.tls());
    swapped.url = format!("amqps://guest:guest@localhost:{}", secured.rabbit.port())
        .parse()
        .expect("a URL");
    let plain = rabbit::check(&swapped, &Topology::new("t")).await.expect_err("refused");
    assert!(plain.to_string().contains("does not speak TLS"), "{plain}");
    let url = format!("amqp://guest:guest@localhost:{}", secured.port);
    let swapped = Settings::new(url.parse().expect("a URL"));
    let tls = rabbit::check(&swapped, &Topology::new("t")).await.expect_err("refused");
    assert!(tls.to_string().contains("wants amqps"), "{tls}");
    secured.rabbit.crash().await;
    std::fs::remove_dir_all(secured.dir.path()).expect("removed");
}

/// A URL, the TLS settings that name files, and what the error names and says.
type Case<'a> = (&'a str, &'a [(&'a str, &'a PathBuf)], &'a str, &'a str);

#[tokio::test]
async fn a_file_for_tls_that_is_of_no_use_stops_the_start_and_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let ours = authority("ours");
    let [ca, junk, missing] = ["ca.pem", "junk.pem", "missing.pem"].map(|name| dir.path().join(name));
    std::fs::write(&ca, ours.pem()).expect("written");
    std::fs::write(&junk, "junk-s3cret").expect("written");
    let client = Identity::issue(&ours, "client", dir.path(), "client");
    let other = Identity::issue(&ours, "other", dir.path(), "other");
    let platform = Platform::on(rabbitmq::shared().await, quick()).await;

    let url = "amqps://guest:guest@localhost:1";
    let (certificate, key) = (&client.certificate, &client.key);
    let cases: [Case<'_>; 9] = [
        (url, &[("CA", &missing)], "amqp.ca_file", "missing.pem can't be read"),
        (url, &[("CA", &junk)], "amqp.ca_file", "no certificate"),
        (url, &[("CA", &client.key)], "amqp.ca_file", "no certificate"),
        (
            url,
            &[("CLIENT_CERTIFICATE", certificate)],
            "amqp.client_key_file",
            "required",
        ),
        (url, &[("CLIENT_KEY", key)], "amqp.client_certificate_file", "required"),
        (
            url,
            &[("CLIENT_CERTIFICATE", certificate), ("CLIENT_KEY", &junk)],
            "amqp.client_key_file",
            "no private key",
        ),
        (
            url,
            &[("CLIENT_CERTIFICATE", &missing), ("CLIENT_KEY", key)],
            "amqp.client_certificate_file",
            "missing.pem",
        ),
        (
            url,
            &[("CLIENT_CERTIFICATE", certificate), ("CLIENT_KEY", &other.key)],
            "amqp.client_certificate_file",
            "does not go with amqp.client_key_file",
        ),
        ("amqp://localhost:1", &[("CA", &ca)], "amqp.ca_file", "amqps"),
    ];
    for (url, files, setting, why) in cases {
        let mut worker = platform.program(&["worker"], &[("AMQP__URL", url)]);
        for (name, path) in files {
            worker.env(format!("BANKREFRESH__AMQP__{name}_FILE"), path);
        }
        // The system's CAs, whatever system this is.
        worker.env("SSL_CERT_FILE", &ca);
        let ended = worker.output().await.expect("it runs");
        let shown = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success(), "{setting} {why}");
        assert!(
            shown.contains(&format!("{setting}: ")) && shown.contains(why),
            "{why}: {shown}"
        );
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
