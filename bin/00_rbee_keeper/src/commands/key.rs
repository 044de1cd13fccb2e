use std::time::{SystemTime, UNIX_EPOCH};

use narration_core::Narration;
use rbee_api::{KeyCreated, KeyInfo, KeyList, KeyRequest, KeyScope};

use crate::{
    app::App,
    cli::{KeyVerb, Scope},
    commands::print,
    failure::Failure,
    render::{Table, age},
};

pub(crate) async fn run(app: &App, verb: KeyVerb) -> Result<(), Failure> {
    let queen = app.queen().await?;
    match verb {
        KeyVerb::Add { name, scope, output } => {
            let scope = match scope {
                Scope::Chat => KeyScope::Chat,
                Scope::Manage => KeyScope::Manage,
            };
            let created = queen.add_key(&KeyRequest { name, scope }).await?;
            let human = format!("Made the key `{}`; it is shown only now", created.name);
            Narration::new("keeper", "key_add", human).about(&created.name).emit();
            print(app, output.json, &created, |KeyCreated { key, .. }| format!("{key}\n"))
        }
        KeyVerb::List(args) => print(app, args.output.json, &queen.keys().await?, table),
        KeyVerb::Revoke { name } => {
            queen.revoke_key(&name).await?;
            let human = format!("Nobody is let in with the key `{name}` any more");
            Narration::new("keeper", "key_revoke", human).about(&name).emit();
            Ok(())
        }
    }
}

fn table(list: &KeyList) -> String {
    if list.keys.is_empty() {
        return "there are no keys; `./rbee key add NAME` makes one\n".to_owned();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut table = Table::new(&["NAME", "SCOPE", "AGE"]);
    for KeyInfo { name, scope, created } in &list.keys {
        table.row([name.clone(), scope.to_string(), age(now.saturating_sub(*created))]);
    }
    table.text()
}
