//! Logs on stderr, for people or for machines.

use std::io::IsTerminal;

use gateway_config::settings::LogFormat;
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Clients of brokers that log whole messages, with the tokens of tasks, or URLs with their passwords. We tell ourselves what goes wrong
/// with them.
const INDISCREET: [&str; 3] = ["lapin", "amq_protocol", "rdkafka"];

/// Starts logging; a second call in one process, as tests make it, changes nothing.
pub(crate) fn start(format: LogFormat) {
    // rustls warns of whatever strangers send.
    let usual = "info,pingora=error,rustls=error";
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    // A file or another program reads no colours.
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let logs = tracing_subscriber::registry().with(filter).with(FilterFn::new(is_discreet));
    let _ = match format {
        LogFormat::Json => logs.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Pretty => logs.with(lines).try_init(),
    };
}

fn is_discreet(metadata: &Metadata<'_>) -> bool {
    !INDISCREET.iter().any(|name| metadata.target().starts_with(name))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_clients_of_brokers_say_of_messages_is_never_logged() {
        let page = Page::default();
        let (into, lines) = (page.clone(), tracing_subscriber::fmt::layer());
        let lines = lines.with_writer(move || into.clone());
        let logs = tracing_subscriber::registry().with(EnvFilter::new("trace"));
        with_default(logs.with(FilterFn::new(is_discreet)).with(lines), || {
            tracing::warn!(target: "lapin::returned_messages", "canary");
            tracing::trace!(target: "amq_protocol_tcp", "canary");
            tracing::warn!(target: "gateway::queue", "ours");
        });
        let text = String::from_utf8(page.0.lock().clone()).unwrap();
        assert!(text.contains("ours") && !text.contains("canary"), "{text}");
    }
}
