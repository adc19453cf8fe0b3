//! The load that the demo puts on its shop.

use std::time::Duration;

/// The scenario file (docs/demo.md) for a shop at this URL: users who browse, search and buy for that long, with time to
/// think, so that with 20 of them a healthy shop is far from busy. Each route is one step, in one journey.
pub fn scenario(shop_url: &str, users: u32, duration: Duration) -> String {
    let load = format!("{{users: {users}, for: {}ms}}", duration.as_millis());
    TEMPLATE.replace("SHOP_URL", shop_url).replace("LOAD", &load)
}

const TEMPLATE: &str = r#"name: demo shop
target: SHOP_URL
load:
  - LOAD
journeys:
  browse:
    weight: 5
    think: 300ms..900ms
    steps:
      - name: home
        get: /
      - name: products
        get: /products?page={{ pick(1, 200) }}
      - name: product
        get: /products/{{ pick(1, 500) }}
  search:
    weight: 4
    think: 300ms..900ms
    steps:
      - name: search
        get: /search?q=mk{{ pick(1, 64) }}
  buy:
    weight: 3
    think: 300ms..900ms
    steps:
      - name: login
        post: /login
        form: {user: "user{{ pick(1, 5000) }}", password: secret}
      - name: basket_add
        post: /basket
        json: {product_id: "{{ pick(1, 10000) }}", quantity: "{{ pick(1, 3) }}"}
        expect: {status: 201}
      - name: basket
        get: /basket
      - name: checkout
        post: /checkout
        expect: {status: 201}
      - name: logout
        post: /logout
  assets:
    weight: 3
    think: 300ms..900ms
    steps:
      - name: static
        get: /static/app.js
        headers: {Accept-Encoding: gzip}
"#;

#[cfg(test)]
mod tests {
    use super::super::fault::{Fault, expectation};
    use super::*;

    #[test]
    fn every_expectation_names_a_step_of_the_scenario() {
        let text = scenario("http://127.0.0.1:8080", 20, Duration::from_secs(20));
        assert!(text.contains("target: http://127.0.0.1:8080\n"));
        for fault in Fault::ALL {
            let step = expectation(fault).step;
            assert_eq!(text.matches(&format!("- name: {step}\n")).count(), 1, "{fault}: {step}");
        }
    }
}
