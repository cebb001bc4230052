//! Runs the examples, which are compiled as modules here.

#[path = "../examples/product_store.rs"]
mod product_store;

#[test]
fn store_written_from_the_documentation_keeps_the_contract() {
    product_store::main().unwrap();
}
