# Tidegate in one account and region, from what was published of a version. Nothing is built.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

variable "release" {
  description = "The version, as in 0.1.0."
  type        = string
}

variable "artifacts_bucket" {
  description = "The S3 bucket with what was published, in the provider's region: Lambda takes code from no other one."
  type        = string
}

variable "name" {
  description = "The stack's name; table, queues and functions are named after it."
  type        = string
  default     = "tidegate"
}

variable "architecture" {
  description = "arm64 or x86_64."
  type        = string
  default     = "arm64"
}

variable "cluster_arns" {
  description = "The ECS clusters whose services may be released."
  type        = list(string)
}

variable "repository_arns" {
  description = "The ECR repositories images come from, wildcards allowed."
  type        = list(string)
}

variable "task_role_arns" {
  description = "The task and execution roles in the task definitions."
  type        = list(string)
  default     = []
}

variable "infrastructure_role_arns" {
  description = "The roles Amazon ECS shifts traffic with."
  type        = list(string)
  default     = []
}

variable "parameters" {
  description = "Any other parameter of the template: docs/operations.md."
  type        = map(string)
  default     = {}
}

data "aws_region" "current" {}

locals {
  prefix = "tidegate/${var.release}/"
}

resource "aws_cloudformation_stack" "tidegate" {
  name         = var.name
  template_url = "https://${var.artifacts_bucket}.s3.${data.aws_region.current.region}.amazonaws.com/${local.prefix}template.yaml"
  # The template makes roles, and has a macro: AWS::Serverless.
  capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]

  parameters = merge({
    ArtifactsBucket        = var.artifacts_bucket
    ArtifactsPrefix        = local.prefix
    Architecture           = var.architecture
    ClusterArns            = join(",", var.cluster_arns)
    RepositoryArns         = join(",", var.repository_arns)
    TaskRoleArns           = join(",", var.task_role_arns)
    InfrastructureRoleArns = join(",", var.infrastructure_role_arns)
  }, var.parameters)
}

output "gate_url" {
  description = "Approvers' links, webhooks and status pages."
  value       = aws_cloudformation_stack.tidegate.outputs["GateUrl"]
}

output "approver_policy_arn" {
  description = "Attach it to approvers with an AWS identity."
  value       = aws_cloudformation_stack.tidegate.outputs["ApproverPolicyArn"]
}
