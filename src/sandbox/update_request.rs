//! The body of a background update, checked as strictly as finAPI could: an unknown field is an error.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::callbacks::CallbackUrls;
use super::config::{Dialect, RedirectUrl, SandboxConfig};
use super::refusal::{FieldError, Refusal};
use super::script::AccountType;
use super::tasks::Import;

const URL_LENGTH_MAX: usize = 2048;
const PROFILE_LENGTH: usize = 36;

/// What is asked for.
#[derive(Debug)]
pub(super) struct UpdateRequest {
    pub(super) connection: i64,
    pub(super) import: Import,
    /// Whether a web form is wanted in any case.
    pub(super) edits_settings: bool,
    pub(super) callbacks: CallbackUrls,
    pub(super) profile: Option<Uuid>,
    pub(super) user_present: bool,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ImportMode {
    Skip,
    Conditional,
    Forced,
}

#[derive(serde::Deserialize)]
enum AllowedInterface {
    #[serde(rename = "XS2A")]
    Xs2a,
    #[serde(rename = "FINTS_SERVER")]
    FintsServer,
    #[serde(rename = "WEB_SCRAPER")]
    WebScraper,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum SavedSetting {
    Credentials,
    DefaultTwoStepProcedure,
}

impl UpdateRequest {
    pub(super) fn read(body: &[u8], config: &SandboxConfig) -> Result<Self, Refusal> {
        let fields: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|_| Refusal::Invalid(vec![FieldError::new("body", "must be a JSON object")]))?;
        let mut fields = Fields {
            fields,
            errors: Vec::new(),
            path: String::new(),
        };
        let request = Self::take(&mut fields, config);
        fields.none_left();
        match request {
            Some(request) if fields.errors.is_empty() => Ok(request),
            _ if config.hides_fields => Err(Refusal::Invalid(Vec::new())),
            _ => Err(Refusal::Invalid(fields.errors)),
        }
    }

    fn take(fields: &mut Fields, config: &SandboxConfig) -> Option<Self> {
        let connection = connection(fields, config.dialect);
        let import = import(fields, config.dialect);
        fields.list::<AllowedInterface>("allowedInterfaces");
        downloads(fields);
        let edits_settings = saved_settings(fields, config.dialect);
        let callbacks = callbacks(fields, config.allow_http_callbacks);
        let profile = profile(fields);
        redirect_url(fields, config.redirect_url);
        let user_present = user_metadata(fields);
        Some(Self {
            connection: connection?,
            import,
            edits_settings,
            callbacks,
            profile,
            user_present,
        })
    }
}

fn connection(fields: &mut Fields, dialect: Dialect) -> Option<i64> {
    const MANY: &str = "bankConnectionIds";
    const ONE: &str = "bankConnectionId";
    let has = |name| fields.fields.get(name).is_some_and(|value: &Value| !value.is_null());
    let many = dialect != Dialect::Reference && has(MANY);
    let one = dialect != Dialect::Guide && has(ONE);
    match (many, one) {
        (true, true) => {
            fields.fields.retain(|name, _| name != ONE && name != MANY);
            fields.wrong(ONE, "must not be given together with bankConnectionIds");
            None
        }
        (true, false) => {
            let ids = fields.parsed::<Vec<i64>>(MANY)?;
            let id = ids.first().copied().filter(|_| ids.len() == 1);
            if id.is_none() {
                fields.wrong(MANY, "must have one element");
            }
            id
        }
        (false, true) => fields.parsed(ONE),
        (false, false) => {
            let name = if dialect == Dialect::Reference { ONE } else { MANY };
            fields.wrong(name, "must not be null");
            None
        }
    }
}

fn import(fields: &mut Fields, dialect: Dialect) -> Import {
    let flag = fields.parsed::<bool>("importNewAccounts");
    // Only the reference knows the mode; it knows the flag too, as deprecated.
    let mode = match dialect {
        Dialect::Guide => None,
        Dialect::Reference | Dialect::Both => fields.parsed::<ImportMode>("importNewAccountsMode"),
    };
    if flag.is_some() && mode.is_some() {
        fields.wrong(
            "importNewAccounts",
            "must not be given together with importNewAccountsMode",
        );
    }
    let new_accounts = match mode {
        Some(ImportMode::Skip) => false,
        Some(ImportMode::Conditional | ImportMode::Forced) => true,
        None => flag.unwrap_or(false),
    };
    let types = fields.list::<AccountType>("accountTypes");
    if types.is_some() && !new_accounts {
        fields.wrong("accountTypes", "may only be given when new accounts are imported");
    }
    Import {
        new_accounts,
        types: types.unwrap_or_default(),
    }
}

fn downloads(fields: &mut Fields) {
    let balances = fields.parsed::<bool>("skipBalancesDownload").unwrap_or(false);
    let positions = fields.parsed::<bool>("skipPositionsDownload").unwrap_or(false);
    if balances && !positions {
        fields.wrong("skipBalancesDownload", "needs skipPositionsDownload");
    }
    fields.parsed::<bool>("loadOwnerData");
}

fn saved_settings(fields: &mut Fields, dialect: Dialect) -> bool {
    let mut asked = |name| fields.list::<SavedSetting>(name).is_some_and(|list| !list.is_empty());
    let guide = dialect != Dialect::Reference && asked("editSavedSettings");
    let reference = dialect != Dialect::Guide && asked("manageSavedSettings");
    if guide && reference {
        fields.wrong(
            "editSavedSettings",
            "must not be given together with manageSavedSettings",
        );
    }
    guide || reference
}

fn callbacks(fields: &mut Fields, allow_http: bool) -> CallbackUrls {
    let Some(mut inner) = fields.object("callbacks") else {
        return CallbackUrls::default();
    };
    let urls = CallbackUrls {
        finalised: inner.url("finalised", allow_http),
        web_form_required: inner.url("webFormRequired", allow_http),
    };
    inner.none_left();
    fields.errors.append(&mut inner.errors);
    urls
}

fn profile(fields: &mut Fields) -> Option<Uuid> {
    let text = fields.parsed::<String>("profileId")?;
    let profile = Uuid::try_parse(&text).ok().filter(|_| text.len() == PROFILE_LENGTH);
    if profile.is_none() {
        fields.wrong("profileId", "must be an id of 36 characters");
    }
    profile
}

fn redirect_url(fields: &mut Fields, rule: RedirectUrl) {
    let given = fields.fields.get("redirectUrl").is_some_and(|value| !value.is_null());
    fields.url("redirectUrl", false);
    match rule {
        RedirectUrl::Required if !given => fields.wrong("redirectUrl", "must not be null"),
        RedirectUrl::Forbidden if given => fields.wrong("redirectUrl", "must not be given"),
        RedirectUrl::Required | RedirectUrl::Forbidden | RedirectUrl::Optional => {}
    }
}

fn user_metadata(fields: &mut Fields) -> bool {
    let Some(mut inner) = fields.object("userMetadata") else {
        return false;
    };
    for name in ["ipAddress", "deviceOs", "userAgent"] {
        let missing = inner.fields.get(name).is_none_or(Value::is_null);
        if missing || inner.parsed::<String>(name).is_some_and(|text| text.is_empty()) {
            inner.wrong(name, "must not be empty");
        }
    }
    inner.none_left();
    fields.errors.append(&mut inner.errors);
    true
}

/// The fields of an object that nobody has read, and what is wrong so far.
struct Fields {
    fields: Map<String, Value>,
    errors: Vec<FieldError>,
    path: String,
}

impl Fields {
    fn wrong(&mut self, name: &str, message: &str) {
        let field = format!("{}{name}", self.path);
        self.errors.push(FieldError::new(field, message));
    }

    /// A null is as good as nothing.
    fn parsed<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.fields.remove(name).filter(|value| !value.is_null())?;
        let parsed = serde_json::from_value(value).ok();
        if parsed.is_none() {
            self.wrong(name, "has the wrong type or an unknown value");
        }
        parsed
    }

    fn list<T: DeserializeOwned>(&mut self, name: &str) -> Option<Vec<T>> {
        self.parsed(name)
    }

    fn object(&mut self, name: &str) -> Option<Self> {
        Some(Self {
            fields: self.parsed(name)?,
            errors: Vec::new(),
            path: format!("{}{name}.", self.path),
        })
    }

    fn url(&mut self, name: &str, allow_http: bool) -> Option<String> {
        let text = self.parsed::<String>(name)?;
        let fine = url::Url::parse(&text).is_ok_and(|url| match url.scheme() {
            "https" => true,
            "http" => allow_http && url.host_str() == Some("127.0.0.1"),
            _ => false,
        });
        if fine && text.len() <= URL_LENGTH_MAX {
            return Some(text);
        }
        self.wrong(name, "must be an https URL of at most 2048 characters");
        None
    }

    fn none_left(&mut self) {
        for name in std::mem::take(&mut self.fields).keys() {
            self.wrong(name, "is unknown");
        }
    }
}
