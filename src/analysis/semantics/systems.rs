//! Names of databases, caches, search engines and cloud services: which is which, and what the conventions renamed.

use crate::analysis::result::Category;

/// Old names of database systems, and names that libraries use, as the stable convention has them
/// (semantic-conventions, `docs/non-normative/db-migration.md`).
pub(super) fn system_name(system: &str) -> &str {
    match system {
        "mssql" | "mssqlcompact" | "sqlserver" => "microsoft.sql_server",
        "oracle" => "oracle.db",
        "dynamodb" | "DynamoDB" => "aws.dynamodb",
        "cosmosdb" => "azure.cosmosdb",
        "db2" => "ibm.db2",
        "informix" => "ibm.informix",
        "netezza" => "ibm.netezza",
        "redshift" => "aws.redshift",
        "spanner" => "gcp.spanner",
        "h2" => "h2database",
        "hanadb" => "sap.hana",
        "maxdb" => "sap.maxdb",
        "adabas" => "softwareag.adabas",
        "ingres" => "actian.ingres",
        "firebird" => "firebirdsql",
        // InterSystems Caché, a database.
        "cache" | "intersystems_cache" => "intersystems_cache",
        "postgres" | "pg" | "pgsql" => "postgresql",
        "mongo" => "mongodb",
        "memcache" => "memcached",
        "sqlite3" => "sqlite",
        same => same,
    }
}

/// No `cache.*` convention exists, so the system decides.
pub(super) fn database_category(system: &str) -> Category {
    match system {
        "redis" | "valkey" | "memcached" | "geode" | "hazelcast" | "infinispan" | "ignite" | "keydb"
        | "dragonfly" | "momento" => Category::Cache,
        "elasticsearch" | "opensearch" | "solr" | "algolia" | "meilisearch" | "typesense" => Category::Search,
        _ => Category::Database,
    }
}

/// What kind of work a call is that goes over RPC to a service of a cloud: by the system of the call, the service that
/// it names (AWS: `DynamoDB`, Google: `google.spanner.v1.Spanner`) or Azure's resource provider.
pub(super) fn cloud_service(rpc: &str, service: &str, azure: &str) -> Option<(Category, &'static str)> {
    use Category::{Cache, Database, External, Messaging, Search};
    if matches!(rpc, "aws-api" | "aws_api") || service.starts_with("AWS") {
        let service = service.trim_start_matches("AWS").trim_start_matches("Amazon");
        return Some(match service.trim_start_matches(['.', ' ']) {
            "DynamoDB" | "DynamoDBv2" | "DynamoDb" => (Database, "aws.dynamodb"),
            "SQS" | "Sqs" => (Messaging, "aws_sqs"),
            "SNS" | "Sns" => (Messaging, "aws.sns"),
            "Kinesis" | "Firehose" => (Messaging, "aws.kinesis"),
            "EventBridge" | "CloudWatchEvents" => (Messaging, "aws.eventbridge"),
            "Lambda" => (External, "faas"),
            "RDSDataService" | "RDS Data" => (Database, "aws.rds_data"),
            "ElastiCache" => (Cache, "aws.elasticache"),
            "OpenSearch" | "CloudSearchDomain" => (Search, "opensearch"),
            _ => (External, "aws-api"),
        });
    }
    Some(match (service, azure) {
        _ if service.starts_with("google.spanner") => (Database, "gcp.spanner"),
        _ if service.starts_with("google.firestore") || service.starts_with("google.datastore") => {
            (Database, "gcp.firestore")
        }
        _ if service.starts_with("google.bigtable") => (Database, "gcp.bigtable"),
        _ if service.starts_with("google.pubsub") => (Messaging, "gcp_pubsub"),
        (_, "Microsoft.DocumentDB") => (Database, "azure.cosmosdb"),
        (_, "Microsoft.ServiceBus") => (Messaging, "servicebus"),
        (_, "Microsoft.EventHub" | "Microsoft.EventHubs") => (Messaging, "eventhubs"),
        (_, "Microsoft.EventGrid") => (Messaging, "eventgrid"),
        (_, "Microsoft.Cache") => (Cache, "redis"),
        (_, "Microsoft.Search") => (Search, "azure.search"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renamed_systems_have_their_stable_names() {
        for (old, new) in [
            ("mssql", "microsoft.sql_server"),
            ("oracle", "oracle.db"),
            ("dynamodb", "aws.dynamodb"),
            ("cosmosdb", "azure.cosmosdb"),
            ("db2", "ibm.db2"),
            ("redshift", "aws.redshift"),
            ("spanner", "gcp.spanner"),
            ("h2", "h2database"),
            ("hanadb", "sap.hana"),
            ("cache", "intersystems_cache"),
            ("postgresql", "postgresql"),
            ("mariadb", "mariadb"),
        ] {
            assert_eq!(system_name(old), new);
            assert_eq!(system_name(new), new, "a stable name is kept");
        }
        assert_eq!(database_category("intersystems_cache"), Category::Database);
    }

    #[test]
    fn services_of_clouds() {
        use Category::{Database, External, Messaging};
        assert_eq!(cloud_service("aws-api", "DynamoDB", ""), Some((Database, "aws.dynamodb")));
        assert_eq!(cloud_service("aws-api", "AmazonSQS", ""), Some((Messaging, "aws_sqs")));
        assert_eq!(cloud_service("aws-api", "S3", ""), Some((External, "aws-api")));
        assert_eq!(cloud_service("grpc", "google.pubsub.v1.Publisher", ""), Some((Messaging, "gcp_pubsub")));
        assert_eq!(cloud_service("", "", "Microsoft.DocumentDB"), Some((Database, "azure.cosmosdb")));
        assert_eq!(cloud_service("grpc", "shop.Cart", ""), None);
    }
}
