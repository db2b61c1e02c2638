//! Random damage at full length: what `leads_out` does a few times in each run of the tests.

use anyhow::Result;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verb_that_an_alarm_asks_for_leads_out_of_many_damages() -> Result<()> {
    crate::leads_out::every_case_leads_out(60).await
}
