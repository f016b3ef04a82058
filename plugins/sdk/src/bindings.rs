//! The code generated from the contract, in a separate file with its own lint settings.
#![allow(missing_docs, unreachable_pub, unsafe_op_in_unsafe_fn, clippy::all, clippy::restriction)]

wit_bindgen::generate!({
    path: "../../wit/v0.1",
    world: "dated-check",
    pub_export_macro: true,
    export_macro_name: "__export_check",
    default_bindings_module: "sdk::bindings",
    generate_all,
});
