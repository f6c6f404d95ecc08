//! Rebuilds the crate when a migration is added: `sqlx::migrate!` looks at the folder only while it is compiled.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
