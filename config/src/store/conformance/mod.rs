//! What every store must do, whatever database stands behind it: a list of checks over the interface alone. Each backend's tests
//! run all of them, each check on a database of its own.

mod admins;
mod audit;
mod entities;
mod history;
mod logins;
mod many;
mod messages;
mod nodes;
mod queue_status;
mod sample;
mod signing;
mod spoilt;
mod tasks;
mod traffic;
mod usage;
mod watching;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::model::{EntityChange, Item, Kind, Timestamp};

use super::{Loaded, NewGeneration, Result, Store, WriteTransaction};

/// A fresh, migrated database under test.
#[async_trait]
pub trait Subject: Send + Sync {
    /// A further handle, as another process would have it.
    async fn open(&self) -> Arc<dyn Store>;

    /// Runs a statement behind the store's back, as an operator would by hand.
    async fn execute(&self, sql: &'static str);
}

pub type Check = for<'a> fn(&'a dyn Subject) -> BoxFuture<'a, Result<()>>;

/// Every check under the fact that it proves.
pub const CHECKS: &[(&str, Check)] = &[
    ("every_field_of_every_kind_reads_back", |subject| {
        Box::pin(entities::every_field_of_every_kind_reads_back(subject))
    }),
    ("children_read_back_in_the_order_written", |subject| {
        Box::pin(entities::children_read_back_in_the_order_written(subject))
    }),
    ("children_may_swap_their_names", |subject| Box::pin(entities::children_may_swap_their_names(subject))),
    ("a_put_replaces_the_entity_of_its_name", |subject| {
        Box::pin(entities::a_put_replaces_the_entity_of_its_name(subject))
    }),
    ("a_deleted_entity_leaves_nothing", |subject| Box::pin(entities::a_deleted_entity_leaves_nothing(subject))),
    ("the_defaults_exist_without_a_row", |subject| Box::pin(entities::the_defaults_exist_without_a_row(subject))),
    ("pages_follow_each_other_by_name", |subject| Box::pin(entities::pages_follow_each_other_by_name(subject))),
    ("a_search_finds_names_and_descriptions_in_any_case", |subject| {
        Box::pin(entities::a_search_finds_names_and_descriptions_in_any_case(subject))
    }),
    ("what_no_row_can_hold_is_refused", |subject| Box::pin(entities::what_no_row_can_hold_is_refused(subject))),
    ("many_entities_are_written_as_each_would_be", |subject| {
        Box::pin(many::many_entities_are_written_as_each_would_be(subject))
    }),
    ("many_entities_mend_what_was_spoilt", |subject| Box::pin(many::many_entities_mend_what_was_spoilt(subject))),
    ("many_names_are_deleted_and_no_other", |subject| Box::pin(many::many_names_are_deleted_and_no_other(subject))),
    ("a_reader_sees_one_state_and_keeps_nobody_from_writing", |subject| {
        Box::pin(many::a_reader_sees_one_state_and_keeps_nobody_from_writing(subject))
    }),
    ("a_fresh_database_is_generation_zero", |subject| Box::pin(history::a_fresh_database_is_generation_zero(subject))),
    ("an_uncommitted_transaction_leaves_nothing", |subject| {
        Box::pin(history::an_uncommitted_transaction_leaves_nothing(subject))
    }),
    ("a_failed_statement_spoils_its_transaction", |subject| {
        Box::pin(history::a_failed_statement_spoils_its_transaction(subject))
    }),
    ("readers_see_the_old_state_until_the_commit", |subject| {
        Box::pin(history::readers_see_the_old_state_until_the_commit(subject))
    }),
    ("a_generation_that_does_not_follow_is_refused", |subject| {
        Box::pin(history::a_generation_that_does_not_follow_is_refused(subject))
    }),
    ("generations_are_gapless_under_concurrent_writers", |subject| {
        Box::pin(history::generations_are_gapless_under_concurrent_writers(subject))
    }),
    ("the_head_carries_the_digest_of_its_generation", |subject| {
        Box::pin(history::the_head_carries_the_digest_of_its_generation(subject))
    }),
    ("a_load_sees_one_generation", |subject| Box::pin(history::a_load_sees_one_generation(subject))),
    ("what_changed_since_is_told_once_an_entity", |subject| {
        Box::pin(history::what_changed_since_is_told_once_an_entity(subject))
    }),
    ("a_history_that_can_not_tell_says_reload", |subject| {
        Box::pin(history::a_history_that_can_not_tell_says_reload(subject))
    }),
    ("generations_are_listed_the_newest_first", |subject| {
        Box::pin(history::generations_are_listed_the_newest_first(subject))
    }),
    ("a_generation_reads_back_with_its_changes", |subject| {
        Box::pin(history::a_generation_reads_back_with_its_changes(subject))
    }),
    ("old_generations_are_forgotten_and_the_newest_never", |subject| {
        Box::pin(history::old_generations_are_forgotten_and_the_newest_never(subject))
    }),
    ("the_audit_is_one_chain_under_concurrent_writers", |subject| {
        Box::pin(audit::the_audit_is_one_chain_under_concurrent_writers(subject))
    }),
    ("an_audit_entry_stands_and_falls_with_its_write", |subject| {
        Box::pin(audit::an_audit_entry_stands_and_falls_with_its_write(subject))
    }),
    ("an_altered_audit_entry_is_found", |subject| Box::pin(audit::an_altered_audit_entry_is_found(subject))),
    ("a_deleted_end_of_the_audit_is_found", |subject| Box::pin(audit::a_deleted_end_of_the_audit_is_found(subject))),
    ("audit_entries_are_found_by_who_what_and_when", |subject| {
        Box::pin(audit::audit_entries_are_found_by_who_what_and_when(subject))
    }),
    ("a_spoilt_row_costs_only_its_entity", |subject| Box::pin(spoilt::a_spoilt_row_costs_only_its_entity(subject))),
    ("a_spoilt_entity_can_be_replaced_and_deleted", |subject| {
        Box::pin(spoilt::a_spoilt_entity_can_be_replaced_and_deleted(subject))
    }),
    ("a_row_of_a_later_format_is_not_read", |subject| Box::pin(spoilt::a_row_of_a_later_format_is_not_read(subject))),
    ("a_commit_wakes_the_watch_of_another_handle", |subject| {
        Box::pin(watching::a_commit_wakes_the_watch_of_another_handle(subject))
    }),
    ("a_node_is_what_it_reported_last", |subject| Box::pin(nodes::a_node_is_what_it_reported_last(subject))),
    ("a_node_that_left_is_forgotten_after_a_day", |subject| {
        Box::pin(nodes::a_node_that_left_is_forgotten_after_a_day(subject))
    }),
    ("the_last_use_of_a_key_only_moves_forward", |subject| {
        Box::pin(usage::the_last_use_of_a_key_only_moves_forward(subject))
    }),
    ("the_uses_of_many_keys_are_recorded_at_once", |subject| {
        Box::pin(usage::the_uses_of_many_keys_are_recorded_at_once(subject))
    }),
    ("gateways_that_record_the_same_keys_do_not_get_in_each_others_way", |subject| {
        Box::pin(usage::gateways_that_record_the_same_keys_do_not_get_in_each_others_way(subject))
    }),
    ("a_signing_key_reads_back_until_it_is_forgotten", |subject| {
        Box::pin(signing::a_signing_key_reads_back_until_it_is_forgotten(subject))
    }),
    ("a_sample_reads_back_whole", |subject| Box::pin(traffic::a_sample_reads_back_whole(subject))),
    ("samples_are_found_by_what_they_are_of", |subject| {
        Box::pin(traffic::samples_are_found_by_what_they_are_of(subject))
    }),
    ("old_samples_are_deleted_by_those_who_took_them", |subject| {
        Box::pin(traffic::old_samples_are_deleted_by_those_who_took_them(subject))
    }),
    ("the_last_use_of_a_route_only_moves_forward", |subject| {
        Box::pin(traffic::the_last_use_of_a_route_only_moves_forward(subject))
    }),
    ("a_slot_holds_one_signing_key", |subject| Box::pin(signing::a_slot_holds_one_signing_key(subject))),
    ("messages_are_claimed_in_the_order_in_which_they_are_due", |subject| {
        Box::pin(messages::messages_are_claimed_in_the_order_in_which_they_are_due(subject))
    }),
    ("a_message_is_accepted_once_by_its_id", |subject| {
        Box::pin(messages::a_message_is_accepted_once_by_its_id(subject))
    }),
    ("workers_claim_disjoint_messages", |subject| Box::pin(messages::workers_claim_disjoint_messages(subject))),
    ("a_queues_concurrency_holds_over_all_workers", |subject| {
        Box::pin(messages::a_queues_concurrency_holds_over_all_workers(subject))
    }),
    ("what_is_claimed_ahead_takes_no_slots", |subject| {
        Box::pin(messages::what_is_claimed_ahead_takes_no_slots(subject))
    }),
    ("what_is_drained_is_said", |subject| Box::pin(messages::what_is_drained_is_said(subject))),
    ("of_many_that_are_settled_only_what_is_lost_is_passed_over", |subject| {
        Box::pin(messages::of_many_that_are_settled_only_what_is_lost_is_passed_over(subject))
    }),
    ("queues_with_something_due_are_found_among_all", |subject| {
        Box::pin(messages::queues_with_something_due_are_found_among_all(subject))
    }),
    ("a_lease_that_ran_out_is_claimed_again_and_its_old_owner_settles_nothing", |subject| {
        Box::pin(messages::a_lease_that_ran_out_is_claimed_again_and_its_old_owner_settles_nothing(subject))
    }),
    ("a_settled_message_is_gone_due_later_dead_or_as_it_was", |subject| {
        Box::pin(messages::a_settled_message_is_gone_due_later_dead_or_as_it_was(subject))
    }),
    ("dead_letters_are_listed_replayed_and_deleted", |subject| {
        Box::pin(messages::dead_letters_are_listed_replayed_and_deleted(subject))
    }),
    ("a_gateway_reports_of_all_its_queues_and_of_no_others", |subject| {
        Box::pin(queue_status::a_gateway_reports_of_all_its_queues_and_of_no_others(subject))
    }),
    ("a_test_is_taken_by_one_gateway_and_its_outcome_reads_back", |subject| {
        Box::pin(queue_status::a_test_is_taken_by_one_gateway_and_its_outcome_reads_back(subject))
    }),
    ("a_task_reads_back_and_what_is_not_there_is_left_out", |subject| {
        Box::pin(tasks::a_task_reads_back_and_what_is_not_there_is_left_out(subject))
    }),
    ("a_status_goes_on_and_never_back", |subject| Box::pin(tasks::a_status_goes_on_and_never_back(subject))),
    ("a_task_that_failed_can_be_opened_again_and_no_other", |subject| {
        Box::pin(tasks::a_task_that_failed_can_be_opened_again_and_no_other(subject))
    }),
    ("a_note_that_comes_after_the_end_adds_and_takes_nothing_away", |subject| {
        Box::pin(tasks::a_note_that_comes_after_the_end_adds_and_takes_nothing_away(subject))
    }),
    ("an_id_is_claimed_by_one_body", |subject| Box::pin(tasks::an_id_is_claimed_by_one_body(subject))),
    ("a_search_finds_the_newest_first_page_by_page", |subject| {
        Box::pin(tasks::a_search_finds_the_newest_first_page_by_page(subject))
    }),
    ("tasks_expire_in_portions", |subject| Box::pin(tasks::tasks_expire_in_portions(subject))),
    ("a_callback_is_due_from_the_end_until_it_is_settled", |subject| {
        Box::pin(tasks::a_callback_is_due_from_the_end_until_it_is_settled(subject))
    }),
    ("an_admin_reads_back_by_id_by_email_and_in_pages", |subject| {
        Box::pin(admins::an_admin_reads_back_by_id_by_email_and_in_pages(subject))
    }),
    ("a_write_to_admins_leaves_its_entry_and_a_refused_one_none", |subject| {
        Box::pin(admins::a_write_to_admins_leaves_its_entry_and_a_refused_one_none(subject))
    }),
    ("of_processes_that_start_at_once_one_makes_the_first_admin", |subject| {
        Box::pin(admins::of_processes_that_start_at_once_one_makes_the_first_admin(subject))
    }),
    ("somebody_always_manages_admins", |subject| Box::pin(admins::somebody_always_manages_admins(subject))),
    ("a_token_is_found_by_its_hash_and_goes_with_its_admin", |subject| {
        Box::pin(admins::a_token_is_found_by_its_hash_and_goes_with_its_admin(subject))
    }),
    ("the_last_use_of_a_token_only_moves_forward", |subject| {
        Box::pin(admins::the_last_use_of_a_token_only_moves_forward(subject))
    }),
    ("a_session_is_renewed_with_its_newest_secret", |subject| {
        Box::pin(logins::a_session_is_renewed_with_its_newest_secret(subject))
    }),
    ("of_two_who_renew_with_one_secret_one_wins_and_the_other_ends_the_session", |subject| {
        Box::pin(logins::of_two_who_renew_with_one_secret_one_wins_and_the_other_ends_the_session(subject))
    }),
    ("within_the_grace_the_secret_before_does_no_harm", |subject| {
        Box::pin(logins::within_the_grace_the_secret_before_does_no_harm(subject))
    }),
    ("a_session_ends_by_logout_by_age_and_when_there_are_too_many", |subject| {
        Box::pin(logins::a_session_ends_by_logout_by_age_and_when_there_are_too_many(subject))
    }),
    ("failed_logins_are_counted_until_they_are_old_or_forgiven", |subject| {
        Box::pin(logins::failed_logins_are_counted_until_they_are_old_or_forgiven(subject))
    }),
];

/// Everything that stands there; a survey sees the same.
async fn load(store: &dyn Store) -> Result<Loaded> {
    let mut reading = store.read().await?;
    let (survey, loaded) = (reading.survey().await?, reading.load().await?);
    reading.end().await?;
    assert_eq!((survey.digest, &survey.spoilt), (loaded.configuration.digest(), &loaded.spoilt));
    Ok(loaded)
}

/// Commits `items` and `gone` as the next generation and answers its number.
async fn commit(store: &dyn Store, items: &[Item], gone: &[(Kind, &str)]) -> Result<u64> {
    let mut transaction = store.begin().await?;
    for item in items {
        transaction.put(item).await?;
    }
    for (kind, name) in gone {
        transaction.delete(*kind, name).await?;
    }
    let digest = transaction.load().await?.configuration.digest();
    let mut changes: Vec<EntityChange> = items.iter().map(|item| change(item.kind(), item.name())).collect();
    changes.extend(gone.iter().map(|(kind, name)| change(*kind, name)));
    finish(transaction, digest, changes).await
}

async fn finish(
    transaction: Box<dyn WriteTransaction>,
    digest: crate::model::Digest,
    changes: Vec<EntityChange>,
) -> Result<u64> {
    let number = transaction.head().generation + 1;
    let created_at = Timestamp::from_micros(1_795_000_000_000_000);
    let (actor, summary) = ("test".to_owned(), "a check".to_owned());
    transaction.commit(&NewGeneration { number, digest, created_at, actor, summary, changes }).await?;
    Ok(number)
}

fn change(kind: Kind, name: &str) -> EntityChange {
    EntityChange { kind, name: name.to_owned(), before: None, after: None }
}
