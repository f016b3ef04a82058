//! Nothing to do: it is here so that cargo builds the build dependencies.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
