//! The operations on queues at work, and on tasks.

use gateway_config::model::TaskStatus;
use serde_json::{Value, json};
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{Components, ObjectBuilder, SchemaFormat};
use utoipa::openapi::{ContentBuilder, Paths, RefOr, Required, ResponseBuilder, Schema};

use super::parts::{
    JSON, Secured, answer, if_none_match, named_in_path, of, operation, page_of, paging, read_answer, response, text,
};
use super::resources::add;
use crate::api::queues::{DeadLetterView, Replayed, ShownSecret, StatusView, TestMessage, Tested};
use crate::api::tasks::TaskView;

const QUEUE: &str = "/admin/routing/queues/{name}";
const SECRET_ABOUT: &str = "Receivers verify with it that a webhook came from this fleet, by the Standard Webhooks specification. It is \
    derived from the master key and is the same at every call; that it was read is noted in the audit.";

pub(super) fn describe(paths: &mut Paths) {
    let below = |rest: &str| format!("{QUEUE}{rest}");
    add(paths, &below("/status"), HttpMethod::Get, status());
    add(paths, &below("/dead"), HttpMethod::Get, list_dead());
    add(paths, &below("/dead/replay"), HttpMethod::Post, replay_all());
    add(paths, &below("/dead/{id}/replay"), HttpMethod::Post, replay());
    add(paths, &below("/dead/{id}"), HttpMethod::Delete, discard());
    add(paths, &below("/test"), HttpMethod::Post, test());
    add(paths, &below("/webhook-secret"), HttpMethod::Get, queue_secret());
    let of_application = "/admin/access/applications/{name}/webhook-secret";
    add(paths, of_application, HttpMethod::Get, application_secret());
    add(paths, "/admin/tasks", HttpMethod::Get, list_tasks());
    add(paths, "/admin/tasks/{id}", HttpMethod::Get, show_task());
}

pub(super) fn components(components: &mut Components) {
    super::add::<StatusView>(components);
    super::add::<DeadLetterView>(components);
    super::add::<Replayed>(components);
    super::add::<TestMessage>(components);
    super::add::<Tested>(components);
    super::add::<ShownSecret>(components);
    super::add::<TaskView>(components);
    super::add::<TaskStatus>(components);
}

fn status() -> OperationBuilder {
    let about = "Of an embedded queue the counts are the database's own. Of others they are what gateways hear from the broker \
        every ten seconds; what is older than a minute, or what the broker does not tell, is null.";
    on_queue("getQueueStatus", "Show how full a queue is, and whether its broker is there")
        .description(Some(about))
        .parameter(if_none_match("The ETag of what the caller has"))
        .response("200", read_answer("As far as it is known", of::<StatusView>()))
        .response("304", response(304))
        .secured(&[404])
}

fn list_dead() -> OperationBuilder {
    let [limit, cursor, _] = paging();
    let about = "Messages of an embedded queue that were tried as often as the queue allows, in the order in which they were accepted. \
        A 409 says that the queue is not embedded: its broker keeps its dead letters.";
    on_queue("listDeadLetters", "List the dead letters of an embedded queue")
        .description(Some(about))
        .parameters(Some([limit, cursor]))
        .parameter(if_none_match("The ETag of the page that the caller has"))
        .response("200", read_answer("A page", page_of(of::<DeadLetterView>())))
        .response("304", response(304))
        .secured(&[404, 409])
}

fn replay_all() -> OperationBuilder {
    on_queue(
        "replayDeadLetters",
        "Deliver all dead letters of an embedded queue again, as if they had never been tried",
    )
    .response("200", answer("How many are due again", of::<Replayed>()).build())
    .secured(&[404, 409])
}

fn replay() -> OperationBuilder {
    on_queue("replayDeadLetter", "Deliver a dead letter again, as if it had never been tried")
        .parameter(letter())
        .response("200", answer("It is due again", of::<Replayed>()).build())
        .secured(&[404, 409])
}

fn discard() -> OperationBuilder {
    on_queue("discardDeadLetter", "Delete a dead letter for good")
        .parameter(letter())
        .response("204", ResponseBuilder::new().description("It is gone").build())
        .secured(&[404, 409])
}

fn test() -> OperationBuilder {
    let about = "A gateway publishes a CloudEvent that is marked with `\"test\": true`, by the very way that requests take, and says \
        what came of it: 200 once the broker has answered for it, else 503 with the reason. It is never spooled, and workers get it \
        like any other message.";
    on_queue("testQueue", "Publish a test message, to see whether it gets through")
        .description(Some(about))
        .request_body(Some(message()))
        .response("200", answer("The broker answered for it", of::<Tested>()).build())
        .secured(&[404, 409, 413, 415])
}

fn message() -> RequestBody {
    let schema: RefOr<Schema> = of::<TestMessage>();
    let content = ContentBuilder::new().schema(Some(schema)).example(Some(json!({"data": {"to": "ann@example.com"}})));
    RequestBodyBuilder::new().required(Some(Required::False)).content(JSON, content.build()).build()
}

fn queue_secret() -> OperationBuilder {
    on_queue("getQueueWebhookSecret", "Show the secret by which an embedded queue's messages are signed")
        .description(Some(SECRET_ABOUT))
        .response("200", answer("The secret", of::<ShownSecret>()).build())
        .secured(&[404, 409])
}

fn application_secret() -> OperationBuilder {
    operation(
        "getApplicationWebhookSecret",
        "applications",
        "Show the secret by which an application's callbacks are signed",
    )
    .description(Some(SECRET_ABOUT))
    .parameter(named_in_path("name", "The application's name", "shop"))
    .response("200", answer("The secret", of::<ShownSecret>()).build())
    .secured(&[404])
}

fn list_tasks() -> OperationBuilder {
    let time = || text().format(Some(SchemaFormat::Custom("date-time".to_owned())));
    let words = text().enum_values(Some(["queued", "running", "succeeded", "failed"]));
    let [limit, cursor, _] = paging();
    operation("listTasks", "insight", "List what became of requests for later, the newest first")
        .description(Some("Written behind: a task may appear some moments after its request was accepted."))
        .parameters(Some([limit, cursor]))
        .parameter(in_query("queue", "Only of this queue", text(), &json!("mails")))
        .parameter(in_query("application", "Only of this application", text(), &json!("shop")))
        .parameter(in_query("status", "Only those that are this far", words, &json!("failed")))
        .parameter(in_query("since", "Made at this time or later", time(), &json!("2026-11-01T00:00:00Z")))
        .parameter(in_query("until", "Made before this time", time(), &json!("2026-12-01T00:00:00Z")))
        .parameter(if_none_match("The ETag of the page that the caller has"))
        .response("200", read_answer("A page", page_of(of::<TaskView>())))
        .response("304", response(304))
        .secured(&[])
}

fn show_task() -> OperationBuilder {
    operation("getTask", "insight", "Show a task; to operators with what its worker said")
        .parameter(named_in_path("id", "The task's id", "AQGh_vn3pXxBnT5bjwwqbhc"))
        .parameter(if_none_match("The ETag of what the caller has"))
        .response("200", read_answer("As it stands", of::<TaskView>()))
        .response("304", response(304))
        .secured(&[404])
}

fn on_queue(id: &str, summary: &str) -> OperationBuilder {
    operation(id, "queues", summary).parameter(named_in_path("name", "The queue's name", "mails"))
}

fn letter() -> Parameter {
    named_in_path("id", "The id of the message, which is its task's", "AQGh_vn3pXxBnT5bjwwqbhc")
}

fn in_query(name: &str, about: &str, schema: ObjectBuilder, example: &Value) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
        .example(Some(example.clone()))
        .build()
}
